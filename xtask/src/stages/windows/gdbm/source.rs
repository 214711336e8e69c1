//! GDBM's source archive, from Debian's source package.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::ctx::{Ctx, fresh};
use crate::run::{Cmd, Log};

/// The version of the package, and of the program.
const PACKAGE: &str = "gdbm=1.23-3";
pub(super) const VERSION: &str = "1.23";
const ARCHIVE: &str = "gdbm_1.23.orig.tar.gz";
const SHA256: &str = "74b1081d21fff13ae4bd7c16e5d6e504a4c26f7cde1dca0d963a484174bbcacd";

/// Unpacks the sources into `dir`; downloads them first, unless that was done. Returns their directory.
pub(super) fn unpack(ctx: &Ctx, dir: PathBuf, log: &Log) -> Result<PathBuf> {
    let kept = ctx.tools().join(ARCHIVE);
    if !kept.exists() {
        download(ctx, log)?;
    }
    let sum = Cmd::new("sha256sum").arg(&kept).run_ok(log)?;
    ensure!(
        sum.output.starts_with(SHA256),
        "{} is not the archive that it should be; remove it and try again:\n{}",
        kept.display(),
        sum.output
    );
    let dir = fresh(dir)?;
    Cmd::new("tar").arg("--extract").arg("--file").arg(&kept).arg("--directory").arg(&dir).run_ok(log)?;
    Ok(dir.join(format!("gdbm-{VERSION}")))
}

/// Downloads the archive by apt, from where the system has its packages from. The lists of source packages are kept
/// apart: the system's own need not have them, nor be changed.
fn download(ctx: &Ctx, log: &Log) -> Result<()> {
    let dir = fresh(ctx.tools().join("debian-sources"))?;
    fs::create_dir_all(dir.join("lists/partial")).context("cannot make a directory for apt's lists")?;
    let sources = dir.join("sources.list");
    fs::write(&sources, source_lists(log)?).with_context(|| format!("cannot write {}", sources.display()))?;
    let apt = || {
        Cmd::new("apt-get")
            .args(["--option", "Dir::Etc::SourceParts=/dev/null", "--option", "APT::Sandbox::User=root"])
            .arg("--option")
            .arg(format!("Dir::Etc::SourceList={}", sources.display()))
            .arg("--option")
            .arg(format!("Dir::State::Lists={}", dir.join("lists").display()))
            .arg("--option")
            .arg(format!("Dir::Cache={}", dir.display()))
            .cwd(&dir)
            .limit(Duration::from_secs(300))
    };
    apt().arg("update").run_ok(log)?;
    apt().args(["source", "--download-only", "--tar-only", PACKAGE]).run_ok(log)?;
    let got = dir.join(ARCHIVE);
    fs::rename(&got, ctx.tools().join(ARCHIVE))
        .with_context(|| format!("apt-get source {PACKAGE} left no {}", got.display()))?;
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// Lines of a sources.list for the sources of Debian's own packages.
fn source_lists(log: &Log) -> Result<String> {
    let format = "$(ORIGIN) $(LABEL) deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let done =
        Cmd::new("apt-get").args(["indextargets", "--format", format, "Identifier: Packages"]).run_ok(log)?;
    let lines: Vec<_> = done.output.lines().filter_map(|line| line.strip_prefix("Debian Debian ")).collect();
    if lines.is_empty() {
        bail!("apt-get knows no packages of Debian: run apt-get update and try again");
    }
    Ok(lines.join("\n") + "\n")
}
