//! The oldest Rust that the manifests promise compiles everything.

use std::time::Duration;

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;

use crate::ctx::Ctx;
use crate::report::Report;
use crate::run::Cmd;

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cannot ask cargo about the workspace")?;
    let promised = metadata.packages.iter().find_map(|package| package.rust_version.as_ref());
    let version = promised.context("no manifest says which Rust it needs")?.to_string();
    // The cargo that runs this is of one toolchain, and cannot start another's.
    let cargo = || Cmd::new("rustup").args(["run", &version, "cargo"]).cwd(&ctx.root);
    let present = cargo().arg("--version").run(report.log());
    if !present.is_ok_and(|done| done.status.success()) {
        let how = format!("there is none: rustup toolchain install {version} --profile minimal");
        report.skip(format!("Rust {version}"), &how);
        return Ok(());
    }
    report.case(format!("Rust {version} compiles the workspace, its tests and benches"), |log| {
        cargo()
            .args(["check", "--workspace", "--all-targets", "--all-features", "--locked"])
            .env("CARGO_TARGET_DIR", ctx.target.join("msrv"))
            .limit(Duration::from_secs(30 * 60))
            .run_ok(log)?;
        Ok(String::new())
    });
    Ok(())
}
