//! One file in several processes: the conformance package's programs `sharing`, `kills` and `hostile`, which start the
//! processes under `mapback run` by themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::trackers;
use crate::cargo::{Counts, test_program};
use crate::ctx::Ctx;
use crate::mounts::{Kind, Mount};
use crate::report::{Job, Report};
use crate::run::{Cmd, Log};
use crate::tracker::Tracker;

/// The tests of this prefix play several users.
const USERS: &str = "i4_users_";

fn program(ctx: &Ctx, name: &str, log: &Log) -> Result<PathBuf> {
    test_program(ctx, "mapback-conformance", name, log)
}

/// `program`, which creates its files in `dir` and lets the kernel serve the maps.
fn natively(program: &Path, dir: &Path) -> Cmd {
    Cmd::new(program).env("MAPBACK_TEST_DIR", dir).cwd(dir).limit(Duration::from_secs(600))
}

/// The same with the maps served by mapback.
fn served(ctx: &Ctx, program: &Path, dir: &Path, maps: &str) -> Cmd {
    let mapback = std::env::var_os("XTASK_MAPBACK").map_or_else(|| ctx.program("mapback"), PathBuf::from);
    natively(program, dir).env("MAPBACK_PROGRAM", mapback).env("MAPBACK_MAPS", maps)
}

fn tests(cmd: &Cmd, log: &Log) -> Result<String> {
    Ok(Counts::of(&cmd.run_ok(log)?.output)?.note())
}

/// Against the kernel's own maps: shows that the tests are right.
pub(crate) fn native(ctx: &Ctx, report: &mut Report) -> Result<()> {
    for (name, rounds) in [("sharing", "0"), ("kills", "200")] {
        report.case(name, |log| {
            let program = program(ctx, name, log)?;
            let dir = ctx.fresh_dir("sharing-native")?;
            tests(&natively(&program, &dir).env("MAPBACK_KILL_ROUNDS", rounds), log)
        });
    }
    Ok(())
}

/// Processes that share files: all maps on disk, and on direct_io those that the kernel refuses.
pub(crate) fn sharing(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let program = program(ctx, "sharing", report.log())?;
    let usable = trackers(ctx, report);
    for tracker in &usable {
        report.case(format!("{}, all maps, on disk", tracker.name()), |log| {
            let cmd = served(ctx, &program, &ctx.fresh_dir("sharing")?, "all");
            let seconds = if ctx.quick { "2" } else { "8" };
            tests(&cmd.env("MAPBACK_TRACKER", tracker.name()).env("MAPBACK_HAMMER_SECONDS", seconds), log)
        });
    }
    let mount = Mount::new(ctx, Kind::Testkit)?;
    for tracker in &usable {
        report.case(format!("{}, maps auto, on direct_io", tracker.name()), |log| {
            let cmd = served(ctx, &program, &mount.fresh_dir("sharing")?, "auto");
            tests(&cmd.env("MAPBACK_TRACKER", tracker.name()), log)
        });
    }
    Ok(())
}

/// Processes that are killed. The trackers take turns.
pub(crate) fn kills(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let program = program(ctx, "kills", report.log())?;
    let usable = trackers(ctx, report);
    let rounds = if ctx.quick { 100 } else { 1000 };
    report.case("all maps, on disk", |log| kill(ctx, &program, &usable, 1, rounds, log));
    let mount = Mount::new(ctx, Kind::Testkit)?;
    report.case("maps auto, on direct_io", |log| {
        let cmd = served(ctx, &program, &mount.fresh_dir("kills")?, "auto");
        rounds_of(cmd, &usable, 1, rounds / 10, log)
    });
    Ok(())
}

fn kill(
    ctx: &Ctx,
    program: &Path,
    trackers: &[Tracker],
    seed: u64,
    rounds: u64,
    log: &Log,
) -> Result<String> {
    rounds_of(served(ctx, program, &ctx.fresh_dir("kills")?, "all"), trackers, seed, rounds, log)
}

fn rounds_of(cmd: Cmd, trackers: &[Tracker], seed: u64, rounds: u64, log: &Log) -> Result<String> {
    let names: Vec<_> = trackers.iter().map(|tracker| tracker.name()).collect();
    let cmd = cmd
        .arg("--nocapture")
        .env("MAPBACK_KILL_TRACKERS", names.join(","))
        .env("MAPBACK_KILL_SEED", seed.to_string())
        .env("MAPBACK_KILL_ROUNDS", rounds.to_string())
        // At least two rounds a second.
        .limit(Duration::from_secs(60 + rounds / 2));
    let done = cmd.run_ok(log)?;
    Counts::of(&done.output)?;
    let told = done.output.lines().find(|line| line.ends_with(" stores told of"));
    Ok(told.unwrap_or_default().to_owned())
}

/// A directory of images in which others have been.
pub(crate) fn hostile(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let program = program(ctx, "hostile", report.log())?;
    let root = rustix::process::geteuid().is_root();
    if !root {
        report.skip("several users", "only root can play several users");
    }
    for tracker in trackers(ctx, report) {
        report.case(tracker.name(), |log| {
            let mut cmd = served(ctx, &program, &ctx.fresh_dir("hostile")?, "all");
            if !root {
                cmd = cmd.args(["--skip", USERS]);
            }
            let rounds = if ctx.quick { "20" } else { "100" };
            tests(&cmd.env("MAPBACK_TRACKER", tracker.name()).env("MAPBACK_SPOIL_ROUNDS", rounds), log)
        });
    }
    Ok(())
}

/// The programs for `torture`.
pub(crate) struct Programs {
    sharing: PathBuf,
    kills: PathBuf,
}

/// Builds what `torture` runs.
pub(crate) fn programs(ctx: &Ctx, log: &Log) -> Result<Programs> {
    Ok(Programs { sharing: program(ctx, "sharing", log)?, kills: program(ctx, "kills", log)? })
}

/// Kills with ever new seeds.
pub(crate) fn kill_job<'a>(
    ctx: &'a Ctx,
    programs: &'a Programs,
    trackers: Vec<Tracker>,
    seed: u64,
    rounds: u64,
) -> Job<'a> {
    let job = move |log: &_| kill(ctx, &programs.kills, &trackers, seed * rounds, rounds, log);
    (format!("kills, seed {}", seed * rounds), Box::new(job))
}

/// A long hammering.
pub(crate) fn hammer_job<'a>(ctx: &'a Ctx, programs: &'a Programs, tracker: Tracker) -> Job<'a> {
    let job = move |log: &_| {
        let cmd = served(ctx, &programs.sharing, &ctx.fresh_dir("hammer")?, "all").arg("hammer::");
        tests(&cmd.env("MAPBACK_TRACKER", tracker.name()).env("MAPBACK_HAMMER_SECONDS", "60"), log)
    };
    (format!("hammer, {}", tracker.name()), Box::new(job))
}
