//! Windows under Wine: Autoconf's program, the clauses, the model, C programs; and what else must at least compile.

mod ac_func_mmap;
mod clippy;
mod examples;
pub(crate) mod gdbm;
mod mingw;
mod programs;
mod toolchain;
pub(crate) mod torture;
mod wine;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::c_library::{CmakeUser, cmake};
use crate::cargo::Counts;
use crate::ctx::Ctx;
use crate::report::Report;
use crate::run::Log;
use mingw::CC;
use toolchain::Toolchain;
use wine::{WINE, Wine};

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

/// How much of the tests that draw or that take a while.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Amount {
    /// What the tests do by themselves, and the library as it is compiled fastest.
    Little,
    /// 1,000 sequences of the model, a crowd of threads for 30 s, and the library as it is delivered.
    Much,
}

impl Amount {
    /// Cargo's profile for the library.
    const fn profile(self) -> &'static str {
        match self {
            Self::Little => "dev",
            Self::Much => "release",
        }
    }
}

/// A look at everything there is for Windows.
pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    tests(ctx, report, Amount::Little)
}

/// The whole, which takes longer than is left beside the tests of this system.
pub(crate) fn run_whole(ctx: &Ctx, report: &mut Report) -> Result<()> {
    clippy::run(ctx, report);
    tests(ctx, report, Amount::Much)
}

fn tests(ctx: &Ctx, report: &mut Report, amount: Amount) -> Result<()> {
    let toolchain = Toolchain::new(ctx);
    let wine = Wine::new(ctx)?;
    report.case("Wine starts", |log| wine.begin(log));
    let mut built = None;
    report.case("mapback.dll and libmapback.a", |log| {
        let built = built.insert(toolchain.library(&wine, amount.profile(), log)?);
        Ok(built.note())
    });
    let Some(built) = built else { return Ok(()) };
    let test = |package: &'static str, name: &'static str, tracker: Option<&'static str>| {
        let (toolchain, wine) = (&toolchain, &wine);
        move |log: &Log| {
            let program = toolchain.test_program(package, name, log)?;
            let dir = ctx.fresh_dir("windows-files")?;
            run_tests(wine, &program, &dir, tracker, amount, log)
        }
    };
    report.case("a project finds them by CMake", |log| {
        let [compiler, emulator] = [("C_COMPILER", CC), ("CROSSCOMPILING_EMULATOR", WINE)]
            .map(|(name, value)| format!("-DCMAKE_{name}={value}"));
        let user = CmakeUser {
            prefix: &built.prefix,
            source: ctx.root.join("xtask/programs/windows/posix.c"),
            arguments: "",
            defines: &["-DCMAKE_SYSTEM_NAME=Windows", &compiler, &emulator],
            with: &|cmd| wine.with(cmd),
        };
        cmake(ctx, &user, log)
    });
    report.case("a program is linked as by MSVC", |log| programs::linked_as_msvc(ctx, &wine, &built, log));
    report.case("the library's own tests", test("mapback", "mapback", None));
    // Each of these runs with each tracker.
    report.case("the safe types", test("mapback", "safe", None));
    report.case("examples", |log| examples::run(ctx, &toolchain, &wine, log));
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
    amount: Amount,
    log: &Log,
) -> Result<String> {
    let mut cmd = wine.run(program).env("MAPBACK_TEST_DIR", Wine::path(dir)).cwd(dir);
    if let Some(tracker) = tracker {
        cmd = cmd.env("MAPBACK_TRACKER", tracker);
    }
    if amount == Amount::Much {
        cmd = cmd.env("ORACLE_CASES", "1000").env("CROWD_SECONDS", "30");
    } else {
        // Crashes of a disk in memory, a minute and a half of them: no system has a part in it.
        cmd = cmd.args(["--skip", "crash::"]);
    }
    Ok(Counts::of(&cmd.limit(Duration::from_secs(600)).run_ok(log)?.output)?.note())
}

/// Compiles the library for systems that are not tested here.
pub(crate) fn targets(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let toolchain = Toolchain::new(ctx);
    for target in TARGETS {
        report.case(target, |log| toolchain.check(target, log));
    }
    Ok(())
}
