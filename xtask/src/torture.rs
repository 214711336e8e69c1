//! `cargo xtask torture`: fsx with ever new seeds and the model, under each tracker, until the time is up or something fails.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::ctx::Ctx;
use crate::fsx::{self, Fsx};
use crate::install::Need;
use crate::mapback::{Mapback, Maps};
use crate::report::{self, Job, Report};
use crate::stages::conformance;
use crate::tracker::Tracker;
use crate::{run, test};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long to go on; the round that is running then is finished
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// The first round's seed (default: the time); each round's is one more
    #[arg(long)]
    seed: Option<u64>,
    /// Operations of one run of fsx
    #[arg(long, default_value_t = 50_000)]
    operations: u32,
    /// Sequences of one run of the model, which draws its own seeds
    #[arg(long, default_value_t = 20_000)]
    sequences: u32,
    /// Torture this tracker only; may be given several times
    #[arg(long, value_enum)]
    tracker: Vec<Tracker>,
}

pub(crate) fn main(options: &Options) -> Result<bool> {
    let ctx = Ctx::new(false, &options.tracker)?;
    crate::mounts::undo_stale(&ctx.scratch)?;
    let mut rows = vec![test::prepare(&ctx, &[Need::Programs, Need::Fsx])?];
    let start = Instant::now();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut seed = options.seed.unwrap_or(now);
    let mut report = Report::new(&ctx, "torture", "fsx with ever new seeds and the model, under mapback")?;
    let model = conformance::model_program(&ctx, report.log())?;
    while rows[0].is_ok() && report.all_passed() && !run::is_interrupted() {
        let trackers =
            ctx.trackers.iter().filter(|(_, missing)| missing.is_none()).map(|(tracker, _)| *tracker);
        let mut jobs = Vec::new();
        for tracker in trackers {
            jobs.push(fsx_job(&ctx, tracker, seed, options.operations));
            jobs.push(conformance::model_job(&ctx, &model, tracker, options.sequences, seed));
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
