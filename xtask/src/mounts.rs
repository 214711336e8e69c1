//! FUSE mounts, those on which `mmap(MAP_SHARED)` fails above all; undone when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::ctx::{Ctx, fresh};
use crate::run::{self, Cmd};

/// The programs that can mount one.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// testkit's `mapback-directio`.
    Testkit,
    /// Debian's `bindfs -o direct_io`.
    Bindfs,
    /// `bindfs` with the page cache, where the kernel's own maps work: what FUSE costs natively.
    Cached,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Testkit, Self::Bindfs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Testkit => "mapback-directio",
            Self::Bindfs => "bindfs -o direct_io",
            Self::Cached => "bindfs",
        }
    }

    fn command(self, ctx: &Ctx) -> Cmd {
        match self {
            Self::Testkit => Cmd::new(ctx.program("mapback-directio")),
            Self::Bindfs => Cmd::new("bindfs").args(["-f", "-o", "direct_io"]),
            Self::Cached => Cmd::new("bindfs").arg("-f"),
        }
    }
}

/// A mounted file system, empty at first.
pub(crate) struct Mount {
    dir: PathBuf,
    source: PathBuf,
    server: Child,
}

impl Mount {
    pub(crate) fn new(ctx: &Ctx, kind: Kind) -> Result<Self> {
        let base = ctx.scratch.join("mounts").join(kind.name().split(' ').next().unwrap_or_default());
        let source = fresh(base.join("source"))?;
        let dir = fresh(base.join("mount"))?;
        let log_path = base.join("server.log");
        let log =
            fs::File::create(&log_path).with_context(|| format!("cannot create {}", log_path.display()))?;
        let cmd = kind.command(ctx).arg(&source).arg(&dir);
        let mut command = cmd.to_command();
        command.stdout(log.try_clone().context("cannot duplicate a descriptor")?).stderr(log);
        let server = command.spawn().with_context(|| format!("cannot start {cmd}"))?;
        let mut mount = Self { dir, source, server };
        mount.wait_until_mounted().map_err(|error| {
            let output = fs::read_to_string(&log_path).unwrap_or_default();
            anyhow!("{cmd}: {error:#}\n{}", run::tail(&output))
        })?;
        Ok(mount)
    }

    fn wait_until_mounted(&mut self) -> Result<()> {
        let start = Instant::now();
        while !mounts_below(&self.dir)?.contains(&self.dir) {
            if let Some(status) = self.server.try_wait().context("cannot wait for the process")? {
                bail!("the file system's server ended before it was mounted: {}", run::how(status));
            }
            if start.elapsed() > Duration::from_secs(20) {
                bail!("not mounted after 20 s");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Where what is in a directory on the mount lies really: there, programs can map it without mapback.
    pub(crate) fn source_of(&self, dir: &Path) -> Result<PathBuf> {
        let below = dir.strip_prefix(&self.dir).context("not on the mount")?;
        Ok(self.source.join(below))
    }

    /// A new, empty directory on the mount.
    pub(crate) fn fresh_dir(&self, name: &str) -> Result<PathBuf> {
        fresh(self.dir.join(name))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        unmount(&self.dir);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if matches!(self.server.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        run::kill_group(&mut self.server);
    }
}

/// Unmounts what an earlier run that was killed left behind below `dir`.
pub(crate) fn undo_stale(dir: &Path) -> Result<()> {
    for mount in mounts_below(dir)? {
        unmount(&mount);
    }
    match mounts_below(dir)?.first() {
        Some(left) => {
            bail!("cannot unmount {}, left by an earlier run: run `fusermount3 -uz` on it", left.display())
        }
        None => Ok(()),
    }
}

/// Detaches a mount even while a program that hangs still uses it.
fn unmount(dir: &Path) {
    let mut command = Cmd::new("fusermount3").args(["-u", "-z"]).arg(dir).to_command();
    let status = command.stdout(Stdio::null()).status();
    if !status.as_ref().is_ok_and(|status| status.success()) {
        eprintln!("xtask: `fusermount3 -uz {}` failed: {status:?}", dir.display());
    }
}

fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(unescape).map(PathBuf::from);
    Ok(points.filter(|point| point.starts_with(dir)).collect())
}

/// The mount table writes blanks and backslashes in paths as `\ooo`.
fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (code, plain)| path.replace(code, plain))
}
