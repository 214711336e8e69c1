//! Where things are, and what was asked for: shared by all stages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;

use crate::tracker::Tracker;
use crate::ui::Ui;

/// File systems that live in memory; `mapback run --maps all` leaves their files to the kernel.
const IN_MEMORY: [(&str, u64); 2] = [("tmpfs", 0x0102_1994), ("ramfs", 0x8584_58f6)];

pub(crate) struct Ctx {
    pub(crate) ui: Ui,
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// One log per stage.
    pub(crate) logs: PathBuf,
    /// Where the tested programs create their files: on a disk file system.
    pub(crate) scratch: PathBuf,
    /// Fewer cases and operations.
    pub(crate) quick: bool,
    /// The trackers to test, and for each that this kernel cannot serve the reason.
    pub(crate) trackers: Vec<(Tracker, Option<String>)>,
}

impl Ctx {
    pub(crate) fn new(quick: bool, trackers: &[Tracker]) -> Result<Self> {
        let metadata =
            MetadataCommand::new().no_deps().exec().context("cannot ask cargo about the workspace")?;
        let target = metadata.target_directory.into_std_path_buf();
        let scratch =
            std::env::var_os("XTASK_SCRATCH").map_or_else(|| target.join("xtask-scratch"), PathBuf::from);
        let trackers = if trackers.is_empty() { Tracker::ALL.as_slice() } else { trackers };
        let ctx = Self {
            ui: Ui::new(),
            root: metadata.workspace_root.into_std_path_buf(),
            logs: target.join("xtask-logs"),
            target,
            scratch,
            quick,
            trackers: trackers.iter().map(|t| (*t, t.missing_in_kernel())).collect(),
        };
        fs::create_dir_all(&ctx.scratch)
            .with_context(|| format!("cannot create {}", ctx.scratch.display()))?;
        refuse_memory(&ctx.scratch)?;
        Ok(ctx)
    }

    /// A program of the workspace, built in release mode.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where `cargo install` puts the tests' tools.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A new, empty directory below the scratch directory.
    pub(crate) fn fresh_dir(&self, name: &str) -> Result<PathBuf> {
        fresh(self.scratch.join(name))
    }

    /// Removes what the tested programs left, when all went well.
    pub(crate) fn clean(&self) {
        if let Err(error) = fs::remove_dir_all(&self.scratch) {
            self.ui.say(format!("cannot remove {}: {error}", self.scratch.display()));
        }
    }
}

/// Makes `dir` a new, empty directory.
pub(crate) fn fresh(dir: PathBuf) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

fn refuse_memory(dir: &Path) -> Result<()> {
    let kind = rustix::fs::statfs(dir)
        .with_context(|| format!("cannot ask for the file system of {}", dir.display()))?;
    #[expect(clippy::cast_sign_loss, reason = "a magic number")]
    let magic = kind.f_type as u64 & 0xffff_ffff;
    if let Some((name, _)) = IN_MEMORY.iter().find(|(_, m)| *m == magic) {
        bail!(
            "{} is on {name}, whose files mapback leaves to the kernel: nothing would be tested. \
             Name a directory on a disk file system in XTASK_SCRATCH",
            dir.display()
        );
    }
    Ok(())
}
