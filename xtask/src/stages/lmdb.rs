//! LMDB: py-lmdb's own test suite, and two writer processes and a reader with `writemap` and `map_async`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::several::{Several, Started, show};
use super::trackers;
use crate::ctx::Ctx;
use crate::mapback::{Mapback, Maps};
use crate::mounts::{Kind, Mount};
use crate::python::{Lmdb, programs};
use crate::report::{Job, Report};
use crate::run::{Cmd, Done, Log, how, tail};
use crate::tracker::Tracker;

/// What LMDB says where shared maps are refused.
const REFUSAL: &str = "No such device";

/// How many differing tests are named.
const SHOWN: usize = 12;

/// The two generations of LMDB that py-lmdb has aboard, by the major numbers by which it is told which to use.
const ENGINES: [Engine; 2] =
    [Engine { name: "LMDB 0.9", major: "0" }, Engine { name: "LMDB 1.0", major: "1" }];

#[derive(Clone, Copy)]
struct Engine {
    name: &'static str,
    major: &'static str,
}

impl Engine {
    fn choose(self, cmd: Cmd) -> Cmd {
        cmd.env("LMDB_DEFAULT_LIB_VERSION", self.major)
    }
}

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let usable = trackers(ctx, report);
    let [default, newer] = ENGINES;
    suite(ctx, report, default, &usable)?;
    // The trackers make no difference that the other engine would not show.
    suite(ctx, report, newer, &usable[..usable.len().min(1)])?;
    let transactions = if ctx.quick { 100 } else { 500 };
    show(ctx, report, &Started::ALL.map(|started| (pair(ctx, transactions), started)))
}

/// The program of two writers and a reader, with so many transactions. LMDB 1.0 is left out: natively, too, two writers
/// with `writemap` now and then end in `Assertion 'x <= dl[0].mid' failed in mdb_freelist_save()`.
pub(crate) fn pair(ctx: &Ctx, transactions: u32) -> Several {
    let [engine, _] = ENGINES;
    let script = engine.choose(Cmd::new(Lmdb::new(ctx).python()).arg(programs(ctx).join("lmdb_pair.py")));
    Several {
        what: String::new(),
        run: script.clone().arg("run"),
        check: script.arg("check"),
        arguments: vec!["--transactions".into(), transactions.to_string()],
        // The creator, the writers and the reader, which writes to the lock file's map.
        processes: 4,
        refusal: REFUSAL,
    }
}

/// py-lmdb's tests, one by one: what they do natively on disk is what they have to do under mapback.
fn suite(ctx: &Ctx, report: &mut Report, engine: Engine, trackers: &[Tracker]) -> Result<()> {
    let mut native = None;
    report.case(format!("py-lmdb's tests, {}, natively on disk", engine.name), |log| {
        let suite = Suite::new(ctx, engine, &ctx.fresh_dir("lmdb")?);
        let done = suite.command.run(log)?;
        let outcomes = suite.outcomes()?;
        let note = note(&outcomes, &done);
        native = Some(outcomes);
        Ok(note)
    });
    let Some(native) = native else { return Ok(()) };
    report.side_by_side(trackers.iter().map(|tracker| on_disk(ctx, engine, *tracker, &native)).collect());

    let mount = Mount::new(ctx, Kind::Testkit)?;
    report.case(format!("py-lmdb's tests, {}, natively on direct_io: fail", engine.name), |log| {
        let done = Suite::new(ctx, engine, &mount.fresh_dir("lmdb")?).command.run(log)?;
        ensure!(
            !done.status.success() && done.output.contains(REFUSAL),
            "no test says \"{REFUSAL}\": the file system does not refuse shared maps"
        );
        Ok(format!("{REFUSAL}, {}", how(done.status)))
    });
    let on_direct_io = trackers.iter().map(|tracker| on_direct_io(ctx, &mount, engine, *tracker, &native));
    report.side_by_side(on_direct_io.collect());
    Ok(())
}

fn on_direct_io<'a>(
    ctx: &'a Ctx,
    mount: &'a Mount,
    engine: Engine,
    tracker: Tracker,
    native: &'a Outcomes,
) -> Job<'a> {
    let job = move |log: &_| {
        let name = format!("lmdb-auto-{}", tracker.name());
        let mapback = Mapback::new(ctx, Maps::Auto, tracker, &ctx.fresh_dir(&name)?);
        under(ctx, engine, &mount.fresh_dir(&name)?, &mapback, native, log)
    };
    (suite_name(engine, tracker, "maps auto, on direct_io"), Box::new(job))
}

fn on_disk<'a>(ctx: &'a Ctx, engine: Engine, tracker: Tracker, native: &'a Outcomes) -> Job<'a> {
    let job = move |log: &_| {
        let dir = ctx.fresh_dir(&format!("lmdb-{}", tracker.name()))?;
        let mapback = Mapback::new(ctx, Maps::All, tracker, &dir);
        under(ctx, engine, &dir, &mapback, native, log)
    };
    (suite_name(engine, tracker, "all maps, on disk"), Box::new(job))
}

fn suite_name(engine: Engine, tracker: Tracker, place: &str) -> String {
    format!("py-lmdb's tests, {}, {}, {place}", engine.name, tracker.name())
}

/// How often each line of the plugin `outcomes` came: `passed: tests/env_test.py::OpenTest::test_ok`.
type Outcomes = BTreeMap<String, usize>;

/// A test of py-lmdb's that wants one of many resizes within a time to find no write transaction under way: on a slow file
/// system, or a busy machine, there may be none.
const BY_CHANCE: &str = "tests/env_test.py::SetMapSizeConcurrencyTest::test_resize_vs_ops_stress";

/// How often that test may be tried again, alone.
const MORE_TRIES: usize = 20;

struct Suite {
    command: Cmd,
    outcomes: std::path::PathBuf,
}

impl Suite {
    /// The tests, with their files in `dir`.
    fn new(ctx: &Ctx, engine: Engine, dir: &Path) -> Self {
        Self::of(ctx, engine, dir, "tests")
    }

    /// Those of the tests that `which` names.
    fn of(ctx: &Ctx, engine: Engine, dir: &Path, which: &str) -> Self {
        let lmdb = Lmdb::new(ctx);
        let outcomes = dir.join("outcomes");
        let command = Cmd::new(lmdb.python())
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "outcomes", which])
            .cwd(lmdb.suite())
            .env("TMPDIR", dir)
            .env("OUTCOMES", &outcomes)
            .env("PYTHONPATH", programs(ctx))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .limit(Duration::from_secs(300));
        Self { command: engine.choose(command), outcomes }
    }

    fn outcomes(&self) -> Result<Outcomes> {
        let text = fs::read_to_string(&self.outcomes)
            .with_context(|| format!("the tests left no {}", self.outcomes.display()))?;
        let mut outcomes = Outcomes::new();
        for line in text.lines() {
            *outcomes.entry(line.to_owned()).or_default() += 1;
        }
        Ok(outcomes)
    }
}

/// Runs the tests under mapback with their files in `dir`; fails unless each ends as it does natively.
fn under(
    ctx: &Ctx,
    engine: Engine,
    dir: &Path,
    mapback: &Mapback,
    native: &Outcomes,
    log: &Log,
) -> Result<String> {
    let suite = Suite::new(ctx, engine, dir);
    let done = mapback.run(suite.command.clone(), log)?;
    let outcomes = suite.outcomes()?;
    let served = mapback.served()?.maps;
    let differences = differences(native, &outcomes);
    let by_chance = !differences.is_empty() && differences.iter().all(|line| line.ends_with(BY_CHANCE));
    if differences.is_empty() || by_chance {
        let again = if by_chance { try_again(ctx, engine, dir, mapback, log)? } else { String::new() };
        return Ok(format!("{}, {served} maps served{again}", note(&outcomes, &done)));
    }
    bail!(
        "{} outcomes are not those that they are natively; pytest: {}\n{}\n{}",
        differences.len(),
        how(done.status),
        differences[..differences.len().min(SHOWN)].join("\n"),
        tail(&done.output)
    );
}

/// The test that depends on chance, until it passes.
fn try_again(ctx: &Ctx, engine: Engine, dir: &Path, mapback: &Mapback, log: &Log) -> Result<String> {
    let mut output = String::new();
    for attempt in 1..=MORE_TRIES {
        let dir = dir.join(format!("again-{attempt}"));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let suite = Suite::of(ctx, engine, &dir, BY_CHANCE);
        let done = mapback.run(suite.command.clone(), log)?;
        if suite.outcomes()?.into_keys().eq([format!("passed: {BY_CHANCE}")]) {
            return Ok(format!(
                ", {BY_CHANCE} only when tried again, {attempt} of at most {MORE_TRIES} times"
            ));
        }
        output = done.output;
    }
    bail!("{BY_CHANCE} failed {} times\n{}", MORE_TRIES + 1, tail(&output))
}

/// Lines that came more often here than there, with a sign that says where.
fn differences(native: &Outcomes, found: &Outcomes) -> Vec<String> {
    let more = |a: &Outcomes, b: &Outcomes, sign: &str| {
        let times = |outcomes: &Outcomes, line: &str| outcomes.get(line).copied().unwrap_or(0);
        a.keys()
            .filter(|line| times(a, line) > times(b, line))
            .map(|line| format!("{sign} {line}"))
            .collect::<Vec<_>>()
    };
    [more(native, found, "   natively only:     "), more(found, native, "   under mapback only:")].concat()
}

fn note(outcomes: &Outcomes, done: &Done) -> String {
    let count = |word: &str| -> usize {
        outcomes.iter().filter(|(line, _)| line.starts_with(word)).map(|(_, times)| times).sum()
    };
    let [passed, failed, skipped] = ["passed", "failed", "skipped"].map(count);
    format!("{passed} passed, {failed} failed, {skipped} skipped, {}", how(done.status))
}
