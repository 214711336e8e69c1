//! fsx under mapback: what it reads must be what it wrote, by whatever calls.

use anyhow::Result;

use super::trackers;
use crate::ctx::Ctx;
use crate::fsx::{self, Fsx};
use crate::mapback::{Mapback, Maps};
use crate::mounts::{Kind, Mount};
use crate::report::{Job, Report};
use crate::tracker::Tracker;

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let scale = if ctx.quick { 20 } else { 1 };
    let usable = trackers(ctx, report);
    let long = Fsx { seed: 1, operations: 100_000 / scale, msync: true, without: &[] };
    let without_msync = Fsx { seed: 2, operations: 20_000 / scale, msync: false, without: &[] };
    let mut jobs = Vec::new();
    for (fsx, what) in [(&long, ""), (&without_msync, ", without msync")] {
        jobs.extend(usable.iter().map(|t| on_disk(ctx, *t, fsx, what)));
    }
    report.side_by_side(jobs);

    let mount = Mount::new(ctx, Kind::Testkit)?;
    let refused = fsx::refused(ctx, &mount.fresh_dir("refused")?, report.log())?;
    if !refused.is_empty() {
        ctx.ui.say(format!("         left out: this FUSE file system refuses {}", refused.join(", ")));
    }
    for tracker in usable {
        report.case(format!("{}, maps auto, on direct_io", tracker.name()), |log| {
            let fsx = Fsx { seed: 3, operations: 10_000 / scale, msync: true, without: &refused };
            let mapback = Mapback::new(ctx, Maps::Auto, tracker, &ctx.scratch);
            let (done, maps) = mapback.run_ok(fsx.command(ctx, &mount.fresh_dir(tracker.name())?)?, log)?;
            fsx::check(&done.output)?;
            Ok(format!("{} operations, {maps} maps served", fsx.operations))
        });
    }
    Ok(())
}

fn on_disk<'a>(ctx: &'a Ctx, tracker: Tracker, fsx: &'a Fsx, what: &str) -> Job<'a> {
    let name = format!("{}, all maps, on disk{what}", tracker.name());
    let job = move |log: &_| {
        let dir = ctx.fresh_dir(&format!("fsx-{}-{}", tracker.name(), fsx.seed))?;
        let mapback = Mapback::new(ctx, Maps::All, tracker, &dir);
        let (done, maps) = mapback.run_ok(fsx.command(ctx, &dir)?, log)?;
        fsx::check(&done.output)?;
        Ok(format!("{} operations, {maps} maps served", fsx.operations))
    };
    (name, Box::new(job))
}
