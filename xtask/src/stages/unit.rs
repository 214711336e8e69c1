//! The workspace's own tests.

use anyhow::Result;

use crate::cargo::{Counts, cargo};
use crate::ctx::Ctx;
use crate::report::Report;

/// `cargo test`, without the conformance package: its programs have stages of their own.
pub(crate) fn tests(ctx: &Ctx, report: &mut Report) -> Result<()> {
    report.case("cargo test", |log| {
        let done =
            cargo(ctx).args(["test", "--workspace", "--exclude", "mapback-conformance"]).run_ok(log)?;
        Ok(Counts::of(&done.output)?.note())
    });
    Ok(())
}

/// The models that need `--cfg loom`, in a target directory of their own: the flag would rebuild everything.
pub(crate) fn loom(ctx: &Ctx, report: &mut Report) -> Result<()> {
    report.case("loom models", |log| {
        let done = cargo(ctx)
            .args(["test", "--release", "--package", "mapback", "--lib", "loom"])
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", ctx.target.join("loom"))
            .run_ok(log)?;
        Ok(Counts::of(&done.output)?.note())
    });
    Ok(())
}
