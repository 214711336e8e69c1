//! `cargo xtask torture`: fsx, alone and by many, with ever new seeds, the model, kills, the hammer, SQLite and LMDB, under
//! each tracker, and the model and a crowd of threads under Wine, until the time is up or something fails.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::ctx::Ctx;
use crate::fsx::{self, Fsx};
use crate::install::Need;
use crate::mapback::{Mapback, Maps};
use crate::report::{self, Job, Report};
use crate::stages::{WINDOWS, conformance, fsx_many, lmdb, several, sharing, sqlite, windows};
use crate::tracker::Tracker;
use crate::{run, test};
use several::Started::{Apart, Together};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long to go on; the round that is running then is finished
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// The first round's seed (default: the time); each round's is one more
    #[arg(long)]
    seed: Option<u64>,
    /// Operations of one run of fsx, and of the processes of fsx-many together
    #[arg(long, default_value_t = 50_000)]
    operations: u32,
    /// Sequences of one run of the model, which draws its own seeds
    #[arg(long, default_value_t = 20_000)]
    sequences: u32,
    /// Writing transactions of one run of SQLite or LMDB
    #[arg(long, default_value_t = 10_000)]
    transactions: u32,
    /// Rounds of one run of the kill test
    #[arg(long, default_value_t = 2_000)]
    kills: u64,
    /// Torture this tracker only; may be given several times
    #[arg(long, value_enum)]
    tracker: Vec<Tracker>,
}

pub(crate) fn main(options: &Options) -> Result<bool> {
    let ctx = Ctx::new(false, &options.tracker)?;
    crate::mounts::undo_stale(&ctx.scratch)?;
    let mut needs = vec![Need::Programs, Need::Fsx, Need::PYTHON, Need::VENV, Need::PyLmdb];
    needs.extend(WINDOWS);
    let mut rows = vec![test::prepare(&ctx, &needs)?];
    let start = Instant::now();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut seed = options.seed.unwrap_or(now);
    let mut report = Report::new(
        &ctx,
        "torture",
        "fsx with ever new seeds, the model, kills and databases, under mapback",
    )?;
    let model = conformance::model_program(&ctx, report.log())?;
    let shared = sharing::programs(&ctx, report.log())?;
    // The trackers that one can choose are those of this system.
    let for_windows = match options.tracker.as_slice() {
        [] => Some(windows::torture::programs(&ctx, report.log())?),
        _ => None,
    };
    while rows[0].is_ok() && report.all_passed() && !run::is_interrupted() {
        let trackers: Vec<_> = ctx
            .trackers
            .iter()
            .filter(|(_, missing)| missing.is_none())
            .map(|(tracker, _)| *tracker)
            .collect();
        let mut jobs = vec![sharing::kill_job(&ctx, &shared, trackers.clone(), seed, options.kills)];
        if let Some(programs) = &for_windows {
            jobs.extend(windows::torture::jobs(&ctx, programs, seed, options.sequences / 20));
        }
        for tracker in trackers {
            jobs.push(sharing::hammer_job(&ctx, &shared, tracker));
            jobs.push(fsx_job(&ctx, tracker, seed, options.operations));
            jobs.push(conformance::model_job(&ctx, &model, tracker, options.sequences, seed));
            jobs.extend(several_jobs(&ctx, tracker, seed, options));
        }
        report.side_by_side(jobs);
        seed += 1;
        if start.elapsed() > Duration::from_secs(options.minutes * 60) {
            break;
        }
    }
    rows.push(report.finish(Ok(())));
    Ok(report::table(&ctx, &rows))
}

/// Programs of several processes. Each round takes another half of the ways to start them.
fn several_jobs<'a>(ctx: &'a Ctx, tracker: Tracker, seed: u64, options: &Options) -> Vec<Job<'a>> {
    let [one, other] = if seed.is_multiple_of(2) { [Together, Apart] } else { [Apart, Together] };
    let phases = options.operations / (fsx_many::OPERATIONS * fsx_many::PROCESSES);
    let programs = [
        (fsx_many::program(ctx, seed, phases), one),
        (sqlite::program(ctx, options.transactions, 0), one),
        (sqlite::program(ctx, options.transactions, sqlite::MMAP_SIZE), other),
        (lmdb::pair(ctx, options.transactions), one),
    ];
    programs.into_iter().map(|(program, started)| several::on_disk(ctx, program, tracker, started)).collect()
}

/// One run of fsx. Odd seeds leave it to munmap to carry the changes to the file.
fn fsx_job(ctx: &Ctx, tracker: Tracker, seed: u64, operations: u32) -> Job<'_> {
    let job = move |log: &_| {
        let fsx = Fsx { seed, operations, msync: seed.is_multiple_of(2), without: &[] };
        let dir = ctx.fresh_dir(&format!("torture-{}", tracker.name()))?;
        let mapback = Mapback::new(ctx, Maps::All, tracker, &dir);
        let (done, maps) = mapback.run_ok(fsx.command(ctx, &dir)?, log)?;
        fsx::check(&done.output)?;
        Ok(format!("{operations} operations, {maps} maps served"))
    };
    (format!("fsx, {}, seed {seed}", tracker.name()), Box::new(job))
}
