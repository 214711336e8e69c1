//! The conformance package's programs: `clauses`, a test for each clause, and `model`, random sequences of calls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::trackers;
use crate::cargo::{Counts, test_program};
use crate::ctx::Ctx;
use crate::mapback::{Mapback, Maps};
use crate::mounts::{Kind, Mount};
use crate::report::{Job, Report};
use crate::run::{Cmd, Log};
use crate::tracker::Tracker;

const PACKAGE: &str = "mapback-conformance";

/// `program`, which creates its files in `dir`.
fn in_dir(program: &Path, dir: &Path) -> Cmd {
    Cmd::new(program).env("MAPBACK_TEST_DIR", dir).cwd(dir).limit(Duration::from_secs(600))
}

/// The clauses against the kernel: shows that the tests themselves are right.
pub(crate) fn native(ctx: &Ctx, report: &mut Report) -> Result<()> {
    report.case("clauses", |log| {
        let program = test_program(ctx, PACKAGE, "clauses", log)?;
        let done = in_dir(&program, &ctx.fresh_dir("clauses-native")?).run_ok(log)?;
        Ok(Counts::of(&done.output)?.note())
    });
    Ok(())
}

/// The clauses under mapback: all maps on disk, and on direct_io those that the kernel refuses.
pub(crate) fn clauses(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let program = test_program(ctx, PACKAGE, "clauses", report.log())?;
    let usable = trackers(ctx, report);
    for tracker in &usable {
        report.case(format!("{}, all maps, on disk", tracker.name()), |log| {
            let dir = ctx.fresh_dir("clauses")?;
            let mapback = Mapback::new(ctx, Maps::All, *tracker, &ctx.scratch);
            let (done, maps) = mapback.run_ok(in_dir(&program, &dir), log)?;
            Ok(format!("{}, {maps} maps served", Counts::of(&done.output)?.note()))
        });
    }
    let mount = Mount::new(ctx, Kind::Testkit)?;
    for tracker in &usable {
        report.case(format!("{}, maps auto, on direct_io", tracker.name()), |log| {
            let dir = mount.fresh_dir("clauses")?;
            let mapback = Mapback::new(ctx, Maps::Auto, *tracker, &ctx.scratch);
            let (done, maps) = mapback.run_ok(in_dir(&program, &dir), log)?;
            Ok(format!("{}, {maps} maps served", Counts::of(&done.output)?.note()))
        });
    }
    Ok(())
}

/// Storage that fails, and what is written to it: the program mounts it, and starts itself under mapback.
pub(crate) fn faults(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let program = test_program(ctx, PACKAGE, "faults", report.log())?;
    for tracker in trackers(ctx, report) {
        report.case(tracker.name(), |log| {
            let cmd = in_dir(&program, &ctx.fresh_dir("faults")?)
                .env("MAPBACK_PROGRAM", ctx.program("mapback"))
                .env("MAPBACK_DIRECTIO", ctx.program("mapback-directio"))
                .env("MAPBACK_TRACKER", tracker.name());
            Ok(Counts::of(&cmd.run_ok(log)?.output)?.note())
        });
    }
    Ok(())
}

/// The model under mapback, which compares it with the kernel's mmap call by call.
pub(crate) fn model(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let program = model_program(ctx, report.log())?;
    let sequences = if ctx.quick { 200 } else { 10_000 };
    let usable = trackers(ctx, report);
    report.side_by_side(
        // The same sequences each time, so that a change is judged by what it changed; `torture` takes ever new ones.
        usable.into_iter().map(|tracker| model_job(ctx, &program, tracker, sequences, 1)).collect(),
    );
    Ok(())
}

/// Builds the model.
pub(crate) fn model_program(ctx: &Ctx, log: &Log) -> Result<PathBuf> {
    test_program(ctx, PACKAGE, "model", log)
}

/// One run of the model.
pub(crate) fn model_job<'a>(
    ctx: &'a Ctx,
    program: &'a Path,
    tracker: Tracker,
    sequences: u32,
    seed: u64,
) -> Job<'a> {
    let job = move |log: &_| {
        let dir = ctx.fresh_dir(&format!("model-{}", tracker.name()))?;
        let mapback = Mapback::new(ctx, Maps::All, tracker, &dir);
        // At least 10 sequences a second.
        let limit = Duration::from_secs(60 + u64::from(sequences) / 10);
        let cmd = in_dir(program, &dir)
            .env("MODEL_CASES", sequences.to_string())
            .env("MODEL_SEED", seed.to_string())
            .limit(limit);
        let (done, maps) = mapback.run_ok(cmd, log)?;
        Ok(format!("{sequences} sequences, {}, {maps} maps served", Counts::of(&done.output)?.note()))
    };
    (format!("model, {}", tracker.name()), Box::new(job))
}
