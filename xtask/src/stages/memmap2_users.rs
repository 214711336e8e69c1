//! Crates from crates.io that use memmap2 run their own tests with memmap2 replaced by a thin alias of mapback.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cargo_metadata::MetadataCommand;

use crate::cargo::{Counts, cargo};
use crate::ctx::Ctx;
use crate::report::Report;
use crate::run::Log;

/// A crate whose tests are run.
struct User {
    name: &'static str,
    version: &'static str,
    /// What cargo is told besides `test`.
    args: &'static [&'static str],
    about: &'static str,
}

const USERS: [User; 2] = [
    User {
        name: "parity-db",
        version: "0.5.7",
        args: &["--lib"],
        about: "a database that stores through MmapRaw from several threads, in maps longer than their files",
    },
    User {
        name: "tantivy",
        version: "0.27.0",
        args: &["--lib", "--no-default-features", "--features", "mmap", "--", "directory::"],
        about: "a search engine that reads its segments through Mmap",
    },
];

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    for user in &USERS {
        report.case(format!("{} {}: {}", user.name, user.version, user.about), |log| {
            let source = unpack(ctx, user, log)?;
            let done = cargo(ctx)
                .cwd(&source)
                .arg("test")
                .args(user.args)
                .env("CARGO_TARGET_DIR", ctx.target.join("memmap2-users"))
                .env("MAPBACK_TRACKER", "")
                // Nobody debugs them, and it halves the time of the build.
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .limit(Duration::from_secs(60 * 60))
                .run_ok(log)?;
            ensure!(
                done.output.contains("memmap2 v0.9.99") || uses_alias(ctx, &source, log)?,
                "the tests were built with the real memmap2"
            );
            Ok(Counts::of(&done.output)?.note())
        });
    }
    Ok(())
}

/// Whether the lock file has the alias: its version is one that memmap2 never had.
fn uses_alias(ctx: &Ctx, source: &Path, log: &Log) -> Result<bool> {
    let done = cargo(ctx).cwd(source).args(["tree", "--invert", "memmap2", "--depth", "0"]).run_ok(log)?;
    Ok(done.output.contains("0.9.99"))
}

/// Copies a crate's sources to the scratch directory and puts the alias in memmap2's place.
fn unpack(ctx: &Ctx, user: &User, log: &Log) -> Result<PathBuf> {
    let probe = ctx.fresh_dir(&format!("memmap2-users/{}-probe", user.name))?;
    let manifest = format!(
        "[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[lib]\npath = \"lib.rs\"\n\n\
         [workspace]\n\n[dependencies]\n{} = {{ version = \"={}\", default-features = false }}\n",
        user.name, user.version
    );
    fs::write(probe.join("Cargo.toml"), manifest).context("cannot write a manifest")?;
    fs::write(probe.join("lib.rs"), "").context("cannot write a library")?;
    cargo(ctx).cwd(&probe).arg("fetch").run_ok(log)?;
    let metadata = MetadataCommand::new()
        .manifest_path(probe.join("Cargo.toml"))
        .exec()
        .with_context(|| format!("cannot ask cargo where {} is", user.name))?;
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == user.name)
        .with_context(|| format!("cargo does not know {}", user.name))?;
    let from = package.manifest_path.parent().context("a manifest has a directory")?;
    let to = ctx.fresh_dir(&format!("memmap2-users/{}", user.name))?;
    copy(from.as_std_path(), &to)?;
    // The crate's own lock file names the real memmap2.
    let _ = fs::remove_file(to.join("Cargo.lock"));
    let alias = ctx.root.join("xtask/memmap2");
    let mut manifest = fs::read_to_string(to.join("Cargo.toml")).context("cannot read the manifest")?;
    manifest.push_str(&format!(
        "\n[workspace]\n\n[patch.crates-io]\nmemmap2 = {{ path = {:?} }}\n",
        alias.display().to_string()
    ));
    fs::write(to.join("Cargo.toml"), manifest).context("cannot write the manifest")?;
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
