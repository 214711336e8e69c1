//! What has no system call, under Miri.

use std::time::Duration;

use anyhow::Result;

use crate::cargo::Counts;
use crate::ctx::Ctx;
use crate::report::Report;
use crate::run::Cmd;

/// The modules that call the system nowhere: stores in memory, journals, marks, the registry of maps, copies of memory that
/// others change.
const MODULES: [&str; 5] =
    ["store::journal", "store::memory", "image::marks", "image::working::registry", "sys::linux::racy"];

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    // The cargo that runs this is of one toolchain, and cannot start another's.
    let miri = || Cmd::new("rustup").args(["run", "nightly", "cargo", "miri"]).cwd(&ctx.root);
    let present = miri().arg("--version").run(report.log());
    if !present.is_ok_and(|done| done.status.success()) {
        report.skip("miri", "there is none: rustup +nightly component add miri");
        return Ok(());
    }
    report.case("the parts without system calls", |log| {
        let done = miri()
            .args(["test", "--package", "mapback", "--lib", "--"])
            .args(MODULES)
            // A journal's salt comes from the system; a crash in a test is a store that is leaked.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks")
            .env("CARGO_TARGET_DIR", ctx.target.join("miri"))
            .limit(Duration::from_secs(30 * 60))
            .run_ok(log)?;
        Ok(Counts::of(&done.output)?.note())
    });
    Ok(())
}
