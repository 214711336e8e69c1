//! What has no system call, under Miri.

use anyhow::Result;

use crate::cargo::{Counts, cargo};
use crate::ctx::Ctx;
use crate::report::Report;

/// The modules that call the system nowhere: stores in memory, journals, marks, comparing, the registry of maps.
const MODULES: [&str; 5] =
    ["store::journal", "store::memory", "image::marks", "image::working::registry", "track::pristine"];

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let present = cargo(ctx).args(["+nightly", "miri", "--version"]).run(report.log())?;
    if !present.status.success() {
        report.skip("miri", "there is none: rustup +nightly component add miri");
        return Ok(());
    }
    report.case("the parts without system calls", |log| {
        let done = cargo(ctx)
            .args(["+nightly", "miri", "test", "--package", "mapback", "--lib", "--"])
            .args(MODULES)
            // Pages of memory are made by the system; the hash seed of a journal is, too.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .env("CARGO_TARGET_DIR", ctx.target.join("miri"))
            .run_ok(log)?;
        Ok(Counts::of(&done.output)?.note())
    });
    Ok(())
}
