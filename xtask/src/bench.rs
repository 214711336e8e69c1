//! `cargo xtask bench`: the side-by-side runner of the bench package.

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to mapback-bench; `-- --help` shows what it takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn main(options: &Options) -> Result<bool> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cannot ask cargo about the workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = |args: &[&str]| {
        let mut command = Command::new(&cargo);
        command.current_dir(&metadata.workspace_root).args(args);
        command
    };
    // The runner starts programs under the interposer, so that everything has to be built.
    let built = run(&["build", "--release", "--workspace", "--exclude", "xtask"])
        .status()
        .context("cannot start cargo")?;
    if !built.success() {
        return Ok(false);
    }
    let bench = metadata.target_directory.join("release/mapback-bench");
    let status =
        Command::new(&bench).args(&options.args).status().with_context(|| format!("cannot start {bench}"))?;
    Ok(status.success())
}
