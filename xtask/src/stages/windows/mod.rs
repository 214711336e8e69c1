//! Windows under Wine: Autoconf's program, the clauses, the model, C programs; and what else must at least compile.

mod ac_func_mmap;
mod gdbm;
mod programs;
mod toolchain;
mod wine;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::cargo::Counts;
use crate::ctx::Ctx;
use crate::report::Report;
use crate::run::Log;
use gdbm::Gdbm;
use toolchain::{GNU, Toolchain};
use wine::Wine;

/// The trackers that Windows has.
const TRACKERS: [&str; 4] = ["fault", "write-watch", "compare", "whole"];

/// Targets that must compile, with what of the workspace.
const TARGETS: [&str; 5] = [
    "x86_64-pc-windows-msvc",
    "aarch64-pc-windows-msvc",
    "aarch64-unknown-linux-gnu",
    "x86_64-apple-darwin",
    "x86_64-unknown-freebsd",
];

/// Runs what there is for Windows.
pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let toolchain = Toolchain::new(ctx);
    let wine = Wine::new(ctx)?;
    report.case("Wine starts", |log| wine.begin(log));
    let built = toolchain.library(&wine, report.log())?;
    report.case("mapback.dll and libmapback.a", |_| Ok(built.note()));
    let test = |package: &'static str, name: &'static str, tracker: Option<&'static str>| {
        let (toolchain, wine) = (&toolchain, &wine);
        move |log: &Log| {
            let program = toolchain.test_program(package, name, log)?;
            let dir = ctx.fresh_dir("windows-files")?;
            run_tests(wine, &program, &dir, tracker, ctx.quick, log)
        }
    };
    report.case("the library's own tests", test("mapback", "mapback", None));
    for tracker in TRACKERS {
        report.case(format!("AC_FUNC_MMAP by configure, {tracker}"), |log| {
            ac_func_mmap::run(ctx, &wine, &built, tracker, log)
        });
        report.case(format!("clauses, {tracker}"), test("mapback-conformance", "clauses", Some(tracker)));
        report.case(format!("oracle, {tracker}"), test("mapback-conformance", "oracle", Some(tracker)));
        report.case(format!("C programs, {tracker}"), |log| programs::run(ctx, &wine, &built, tracker, log));
    }
    Ok(())
}

fn run_tests(
    wine: &Wine,
    program: &Path,
    dir: &Path,
    tracker: Option<&str>,
    quick: bool,
    log: &Log,
) -> Result<String> {
    let mut cmd = wine.run(program).env("MAPBACK_TEST_DIR", Wine::path(dir)).cwd(dir);
    if let Some(tracker) = tracker {
        cmd = cmd.env("MAPBACK_TRACKER", tracker);
    }
    if !quick {
        cmd = cmd.env("ORACLE_CASES", "1000").env("CROWD_SECONDS", "30");
    }
    Ok(Counts::of(&cmd.limit(Duration::from_secs(600)).run_ok(log)?.output)?.note())
}

/// Runs GDBM's own tests: a program that uses `mmap` and knows nothing of mapback.
pub(crate) fn gdbm(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let toolchain = Toolchain::new(ctx);
    let wine = Wine::new(ctx)?;
    report.case("Wine starts", |log| wine.begin(log));
    let built = toolchain.library(&wine, report.log())?;
    let mut gdbm = None;
    report.case("GDBM, configured and compiled by mingw", |log| {
        let (built, note) = Gdbm::build(ctx, &wine, &built, log)?;
        gdbm = Some(built);
        Ok(note)
    });
    let Some(gdbm) = gdbm else { return Ok(()) };
    for tracker in TRACKERS {
        report.case(format!("GDBM's own tests, {tracker}"), |log| gdbm.tests(tracker, log));
        report.case(format!("GDBM by windows of 8 KiB, {tracker}"), |log| gdbm.windows(tracker, log));
    }
    report.case("GDBM's tests with nothing written back: fail", |log| gdbm.control(TRACKERS[0], log));
    Ok(())
}

/// Compiles the library for systems that are not tested here.
pub(crate) fn targets(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let toolchain = Toolchain::new(ctx);
    for target in TARGETS {
        report.case(target, |log| toolchain.check(target, log));
    }
    report.case(GNU, |log| toolchain.check(GNU, log));
    Ok(())
}
