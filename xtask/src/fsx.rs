//! Running fsx, which does random operations on a file and checks what it reads.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::ctx::Ctx;
use crate::run::{Cmd, Log};

/// fsx's operations, each with its weight: how often it is drawn.
const OPERATIONS: [(&str, u32); 14] = [
    ("read", 10),
    ("write", 10),
    ("mapread", 10),
    ("mapwrite", 10),
    ("truncate", 5),
    ("punch_hole", 3),
    ("copy_file_range", 3),
    ("sendfile", 2),
    ("posix_fallocate", 1),
    ("posix_fadvise", 1),
    ("fsync", 1),
    ("fdatasync", 1),
    ("invalidate", 1),
    ("close_open", 1),
];

/// Those that not every file system has, and that do not map the file.
const OPTIONAL: [&str; 5] = ["punch_hole", "copy_file_range", "sendfile", "posix_fallocate", "posix_fadvise"];

/// One run of fsx.
pub(crate) struct Fsx<'a> {
    pub(crate) seed: u64,
    pub(crate) operations: u32,
    /// Whether each mapwrite ends with an msync. Without it, munmap alone must carry the changes to the file.
    pub(crate) msync: bool,
    /// Operations that the file system refuses.
    pub(crate) without: &'a [&'static str],
}

impl Fsx<'_> {
    /// The command. The exercised file and fsx's artifacts are created in `dir`.
    pub(crate) fn command(&self, ctx: &Ctx, dir: &Path) -> Result<Cmd> {
        let kept = OPERATIONS
            .iter()
            .map(|(name, weight)| (*name, if self.without.contains(name) { 0 } else { *weight }));
        self.with_weights(ctx, dir, kept)
    }

    fn with_weights<'n>(
        &self,
        ctx: &Ctx,
        dir: &Path,
        weights: impl Iterator<Item = (&'n str, u32)>,
    ) -> Result<Cmd> {
        let mut config =
            format!("nomsyncafterwrite = {}\n[opsize]\nmin = 1\nmax = 65536\n[weights]\n", !self.msync);
        for (name, weight) in weights {
            writeln!(config, "{name} = {weight}")?;
        }
        let path = dir.join("fsx.toml");
        fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
        let numbers = ["-S", &self.seed.to_string(), "-N", &self.operations.to_string()].map(str::to_owned);
        let program = ctx.tools().join("bin/fsx");
        // At least 50 operations a second: natively there are thousands.
        let limit = Duration::from_secs(60 + u64::from(self.operations) / 50);
        Ok(Cmd::new(program)
            .arg("-f")
            .arg(path)
            .args(numbers)
            .arg("-P")
            .arg(dir)
            .arg(dir.join("file"))
            .limit(limit))
    }
}

/// Fails unless fsx said that all went well.
pub(crate) fn check(output: &str) -> Result<()> {
    ensure!(output.contains("All operations completed A-OK!"), "fsx ended without its closing line");
    Ok(())
}

/// Which of the optional operations the file system of `dir` refuses, asked natively one by one.
pub(crate) fn refused(ctx: &Ctx, dir: &Path, log: &Log) -> Result<Vec<&'static str>> {
    let run = |optional: Option<&str>| -> Result<bool> {
        let fsx = Fsx { seed: 1, operations: 300, msync: true, without: &[] };
        let weights = OPERATIONS.iter().map(|(name, _)| {
            let wanted = ["read", "write", "truncate"].contains(name) || Some(*name) == optional;
            (*name, u32::from(wanted))
        });
        Ok(fsx.with_weights(ctx, dir, weights)?.run(log)?.status.success())
    };
    ensure!(run(None)?, "fsx fails natively in {} even without maps", dir.display());
    let mut refused = Vec::new();
    for name in OPTIONAL {
        if !run(Some(name))? {
            refused.push(name);
        }
    }
    Ok(refused)
}
