//! What cargo does for the stages.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;

use crate::ctx::Ctx;
use crate::run::{Cmd, Log};

/// The program that exercises file systems: the newest release.
const FSX: (&str, &str) = ("fsx", "0.3.2");

/// What builds and installs the C library: the last release that Rust 1.95 compiles.
const CARGO_C: (&str, &str) = ("cargo-c", "0.10.24+cargo-0.98.0");

/// `cargo` in the workspace's root, allowed the time that a build from nothing takes.
pub(crate) fn cargo(ctx: &Ctx) -> Cmd {
    Cmd::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .cwd(&ctx.root)
        .limit(Duration::from_secs(30 * 60))
}

/// Builds the workspace's programs and the interposer as a user gets them.
pub(crate) fn build_programs(ctx: &Ctx, log: &Log) -> Result<String> {
    cargo(ctx).args(["build", "--release", "--workspace", "--exclude", "xtask"]).run_ok(log)?;
    Ok(String::new())
}

/// Installs fsx below the target directory, unless that version is there.
pub(crate) fn install_fsx(ctx: &Ctx, log: &Log) -> Result<String> {
    let (name, version) = FSX;
    let root = ctx.tools();
    let args = ["install", name, "--version", version, "--locked", "--root"];
    // A target directory of its own: one that is shared would be locked by the build that runs beside it.
    cargo(ctx).args(args).arg(&root).env("CARGO_TARGET_DIR", root.join("target")).run_ok(log)?;
    Ok(format!("{name} {version}"))
}

/// Installs cargo-c below the target directory, unless that version is there. It contains all of cargo, so it is compiled
/// as fast as can be and not optimized.
pub(crate) fn install_cargo_c(ctx: &Ctx, log: &Log) -> Result<String> {
    let (name, version) = CARGO_C;
    let root = ctx.tools();
    let args = ["install", name, "--version", version, "--locked", "--debug", "--root"];
    cargo(ctx)
        .args(args)
        .arg(&root)
        .env("CARGO_TARGET_DIR", root.join("target"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        .limit(Duration::from_secs(60 * 60))
        .run_ok(log)?;
    Ok(format!("{name} {version}"))
}

/// Builds a package's test programs in release mode and says where the one called `name` is.
pub(crate) fn test_program(ctx: &Ctx, package: &str, name: &str, log: &Log) -> Result<PathBuf> {
    let args =
        ["test", "--release", "--no-run", "--message-format=json", "--package", package, "--test", name];
    let done = cargo(ctx).args(args).stdout_apart().run_ok(log)?;
    for message in Message::parse_stream(done.stdout.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message.context("cannot read cargo's messages")?
            && artifact.target.name == name
            && let Some(executable) = artifact.executable
        {
            return Ok(executable.into_std_path_buf());
        }
    }
    bail!("cargo built no test program {name} of the package {package}");
}

/// The sum of what the `test result:` lines of Rust's test runner count.
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) ignored: u64,
    /// Of those that passed, how many said that they do not apply.
    pub(crate) moot: u64,
}

impl Counts {
    /// Reads the lines; fails if no test was run at all.
    pub(crate) fn of(output: &str) -> Result<Self> {
        let moot = output.lines().filter(|line| line.starts_with("does not apply to this tracker: ")).count();
        let mut counts = Self { passed: 0, ignored: 0, moot: moot as u64 };
        for line in output.lines().filter(|line| line.starts_with("test result: ")) {
            let words: Vec<_> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
            let before = |what: &str| {
                let at = words.iter().position(|word| *word == what)?;
                words[at.checked_sub(1)?].parse::<u64>().ok()
            };
            counts.passed += before("passed").unwrap_or(0);
            counts.ignored += before("ignored").unwrap_or(0);
        }
        ensure!(counts.passed > 0, "not one test was run");
        Ok(counts)
    }

    pub(crate) fn note(&self) -> String {
        let mut note = format!("{} tests", self.passed - self.moot.min(self.passed));
        for (count, what) in [(self.ignored, "ignored"), (self.moot, "that do not apply to this tracker")] {
            if count > 0 {
                note += &format!(", {count} {what}");
            }
        }
        note
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_are_summed_and_none_is_an_error() {
        let lines = "test result: ok. 7 passed; 0 failed; 2 ignored; 0 measured; 1 filtered out; finished in 0.01s\n\
                     noise\n\
                     test result: ok. 30 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2s\n";
        let counts = Counts::of(lines).unwrap();
        assert_eq!((counts.passed, counts.ignored), (37, 2));
        assert_eq!(counts.note(), "37 tests, 2 ignored");
        let moot = Counts::of(&format!("does not apply to this tracker: because\n{lines}")).unwrap();
        assert_eq!(moot.note(), "36 tests, 2 ignored, 1 that do not apply to this tracker");
        assert!(Counts::of("test result: ok. 0 passed; 0 failed; 0 ignored").is_err());
    }
}
