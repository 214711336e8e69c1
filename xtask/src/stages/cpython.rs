//! CPython's own test_mmap, as Debian ships it, its large-file tests included.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::trackers;
use crate::ctx::Ctx;
use crate::mapback::{Mapback, Maps};
use crate::mounts::{Kind, Mount};
use crate::python::PYTHON;
use crate::report::Report;
use crate::run::{Cmd, Done, how};

/// How often the tests are run on disk, for the median of their times.
const RUNS: usize = 3;

/// What Python's test runner says at its end.
#[derive(Clone, Copy, PartialEq)]
struct Summary {
    ran: u32,
    skipped: u32,
    seconds: f64,
}

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let disk = ctx.fresh_dir("cpython")?;
    let mut native = None;
    report.case("natively on disk", |log| {
        let summary = median(|| test_mmap(&disk).run_ok(log))?;
        native = Some(summary);
        Ok(format!("{} tests, {} skipped, {:.3} s", summary.ran, summary.skipped, summary.seconds))
    });
    let Some(native) = native else { return Ok(()) };

    let usable = trackers(ctx, report);
    for tracker in &usable {
        report.case(format!("{}, all maps, on disk", tracker.name()), |log| {
            let mapback = Mapback::new(ctx, Maps::All, *tracker, &ctx.scratch);
            let mut maps = 0;
            let summary = median(|| {
                let (done, served) = mapback.run_ok(test_mmap(&disk), log)?;
                maps = served;
                Ok(done)
            })?;
            compare(native, summary, maps)
        });
    }

    // What FUSE itself costs is not mapback's: the time natively is that of a mount which has a page cache.
    let mut native = None;
    let cached = Mount::new(ctx, Kind::Cached)?;
    let dir = cached.fresh_dir("cpython")?;
    report.case("natively on FUSE with a page cache", |log| {
        let summary = median(|| test_mmap(&dir).run_ok(log))?;
        native = Some(summary);
        Ok(format!("{} tests, {} skipped, {:.3} s", summary.ran, summary.skipped, summary.seconds))
    });
    drop(cached);
    let Some(native) = native else { return Ok(()) };

    let mount = Mount::new(ctx, Kind::Testkit)?;
    let dir = mount.fresh_dir("cpython")?;
    report.case("natively on direct_io: fails", |log| {
        let done = test_mmap(&dir).run(log)?;
        ensure!(
            !done.status.success(),
            "it passes without mapback: the file system does not refuse shared maps"
        );
        Ok(how(done.status))
    });
    for tracker in &usable {
        report.case(format!("{}, maps auto, on direct_io", tracker.name()), |log| {
            let mapback = Mapback::new(ctx, Maps::Auto, *tracker, &ctx.scratch);
            let mut maps = 0;
            let summary = median(|| {
                let (done, served) = mapback.run_ok(test_mmap(&dir), log)?;
                maps = served;
                Ok(done)
            })?;
            compare(native, summary, maps)
        });
    }
    Ok(())
}

fn test_mmap(dir: &Path) -> Cmd {
    Cmd::new(PYTHON)
        .args(["-m", "test", "test_mmap", "-v", "-u", "largefile", "--tempdir"])
        .arg(dir)
        .cwd(dir)
        .limit(Duration::from_secs(300))
}

fn median(mut run: impl FnMut() -> Result<Done>) -> Result<Summary> {
    let mut all = (0..RUNS).map(|_| summary(&run()?)).collect::<Result<Vec<_>>>()?;
    let first = all[0];
    ensure!(
        all.iter().all(|s| (s.ran, s.skipped) == (first.ran, first.skipped)),
        "the runs differ in their counts"
    );
    all.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Ok(all[RUNS / 2])
}

/// Reads `Ran 44 tests in 0.035s` and `OK (skipped=8)`.
fn summary(done: &Done) -> Result<Summary> {
    let lines = || done.output.lines();
    let ran = lines().find_map(|line| line.strip_prefix("Ran ")?.split_once(" tests in "));
    let (ran, seconds) = ran.context("Python's test runner did not say how many tests it ran")?;
    let skipped = lines().find_map(|line| line.strip_prefix("OK (skipped=")?.strip_suffix(')'));
    Ok(Summary {
        ran: ran.parse().context("the number of tests")?,
        skipped: skipped.map_or(Ok(0), str::parse).context("the number of skipped tests")?,
        seconds: seconds.trim_end_matches('s').parse().context("the seconds")?,
    })
}

/// Every test that passes natively has to pass, not be skipped. The time is told, never judged.
fn compare(native: Summary, found: Summary, maps: u64) -> Result<String> {
    ensure!(
        (native.ran, native.skipped) == (found.ran, found.skipped),
        "{} tests ran and {} were skipped; natively {} and {}",
        found.ran,
        found.skipped,
        native.ran,
        native.skipped
    );
    let ratio = found.seconds / native.seconds;
    Ok(format!("{} tests, {:.3} s = {ratio:.1} x native, {maps} maps served", found.ran, found.seconds))
}
