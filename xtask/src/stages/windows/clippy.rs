//! Clippy on the code for Windows. It needs a toolchain that has clippy and the sources of std, which is rustup's nightly.

use std::time::Duration;

use super::mingw::GNU;
use crate::ctx::Ctx;
use crate::report::Report;
use crate::run::Cmd;

/// What is compiled for Windows.
const WHAT: [&str; 16] = [
    "--package",
    "mapback",
    "--package",
    "mapback-c",
    "--package",
    "mapback-conformance",
    "--package",
    "mapback-windows-libc",
    "--no-default-features",
    "--lib",
    "--test",
    "clauses",
    "--test",
    "oracle",
    "--test",
    "safe",
];

pub(super) fn run(ctx: &Ctx, report: &mut Report) {
    // The cargo that runs this is of one toolchain, and cannot start another's.
    let nightly = || Cmd::new("rustup").args(["run", "nightly"]).cwd(&ctx.root);
    let has =
        |args: &[&str]| nightly().args(args).run(report.log()).ok().filter(|done| done.status.success());
    let sources = has(&["rustc", "--print", "sysroot"]).is_some_and(|done| {
        std::path::Path::new(done.output.trim()).join("lib/rustlib/src/rust/library").exists()
    });
    if !sources || has(&["cargo", "clippy", "--version"]).is_none() {
        report.skip("clippy", "it is not there: rustup +nightly component add clippy rust-src");
        return;
    }
    report.case("clippy", |log| {
        nightly()
            .args(["cargo", "clippy", "-Z", "build-std=std,panic_abort", "--target", GNU])
            .args(WHAT)
            // The last is wrong about how std's macro is expanded for this system.
            .args(["--", "-D", "warnings", "-A", "clippy::missing_const_for_thread_local"])
            .env("CARGO_TARGET_DIR", ctx.target.join("windows").join("clippy"))
            .limit(Duration::from_secs(30 * 60))
            .run_ok(log)?;
        Ok(String::new())
    });
}
