//! What a stage did, case by case, and the table at the end.

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::ctx::Ctx;
use crate::run::{self, Log};

/// What one case found: a note for the reader, such as a count, or why it failed.
type Found = Result<String>;

/// A case to be run beside others.
pub(crate) type Job<'a> = (String, Box<dyn FnOnce(&Log) -> Found + Send + 'a>);

enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Row {
    pub(crate) fn is_ok(&self) -> bool {
        self.failed.is_empty()
    }
}

/// Collects the cases of one stage. A failed case does not keep the next from running.
pub(crate) struct Report<'a> {
    ctx: &'a Ctx,
    log: Arc<Log>,
    stage: &'static str,
    start: Instant,
    cases: Vec<(String, Outcome)>,
}

/// A row of the table at the end.
pub(crate) struct Row {
    stage: &'static str,
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
    elapsed: Duration,
}

impl<'a> Report<'a> {
    pub(crate) fn new(ctx: &'a Ctx, stage: &'static str, about: &str) -> Result<Self> {
        let log = Arc::new(Log::create(&ctx.logs, stage)?);
        ctx.ui.say(format!("\n== {stage}: {about}"));
        Ok(Self { ctx, log, stage, start: Instant::now(), cases: Vec::new() })
    }

    /// The log of the stage.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn all_passed(&self) -> bool {
        self.cases.iter().all(|(_, outcome)| matches!(outcome, Outcome::Passed))
    }

    /// Runs one case.
    pub(crate) fn case(&mut self, name: impl Into<String>, f: impl FnOnce(&Log) -> Found) {
        let name = name.into();
        self.ctx.ui.busy(format!("{}: {name}", self.stage));
        let start = Instant::now();
        let found = if run::is_interrupted() { Err(anyhow::anyhow!("interrupted")) } else { f(&self.log) };
        self.ctx.ui.idle();
        self.record(name, found, start.elapsed());
    }

    /// Runs cases side by side, as many at a time as there are processors; reports each when it ends.
    pub(crate) fn side_by_side(&mut self, jobs: Vec<Job<'_>>) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
        let names: Vec<_> = jobs.iter().map(|(name, _)| name.as_str()).collect();
        self.ctx.ui.busy(format!("{}: {}", self.stage, names.join(", ")));
        let log = self.log.clone();
        let queue = Mutex::new(jobs.into_iter());
        let (sender, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (sender, log, queue) = (sender.clone(), &log, &queue);
                scope.spawn(move || {
                    while let Some((name, f)) = take(queue) {
                        let start = Instant::now();
                        let found = f(log);
                        sender
                            .send((name, found, start.elapsed()))
                            .expect("the receiver outlives the threads");
                    }
                });
            }
            drop(sender);
            for (name, found, elapsed) in ended {
                self.record(name, found, elapsed);
            }
        });
        self.ctx.ui.idle();
    }

    /// Says of a case that it cannot be run on this system, and why. It shows in the table.
    pub(crate) fn skip(&mut self, name: impl Into<String>, why: &str) {
        let name = name.into();
        self.ctx.ui.say(format!("   skip  {name}: {why}"));
        self.cases.push((name, Outcome::Skipped));
    }

    fn record(&mut self, name: String, found: Found, elapsed: Duration) {
        for line in self.log.take_closing_lines() {
            self.ctx.ui.say(format!("         {line}"));
        }
        let seconds = elapsed.as_secs_f64();
        match found {
            Ok(note) => {
                let note = if note.is_empty() { note } else { format!(": {note}") };
                self.ctx.ui.say(format!("   ok    {name}{note} ({seconds:.1} s)"));
                self.cases.push((name, Outcome::Passed));
            }
            Err(error) => {
                let log = self.log.path().display();
                self.ctx.ui.say(format!(
                    "   FAIL  {name} ({seconds:.1} s): {error:#}\n         whole output: {log}"
                ));
                self.cases.push((name, Outcome::Failed));
            }
        }
    }

    /// Closes the stage. A set-up that failed counts as a failed case.
    pub(crate) fn finish(mut self, set_up: Result<()>) -> Row {
        if let Err(error) = set_up {
            self.record("set-up".into(), Err(error), self.start.elapsed());
        }
        if self.cases.is_empty() {
            self.record("cases".into(), Err(anyhow::anyhow!("the stage ran no case")), Duration::ZERO);
        }
        let count = |what: fn(&Outcome) -> bool| self.cases.iter().filter(|(_, o)| what(o)).count();
        Row {
            stage: self.stage,
            passed: count(|o| matches!(o, Outcome::Passed)),
            skipped: count(|o| matches!(o, Outcome::Skipped)),
            elapsed: self.start.elapsed(),
            failed: self
                .cases
                .into_iter()
                .filter(|(_, o)| matches!(o, Outcome::Failed))
                .map(|(n, _)| n)
                .collect(),
        }
    }
}

/// The next job, unless there is none or Ctrl-C came.
fn take<'a>(queue: &Mutex<impl Iterator<Item = Job<'a>>>) -> Option<Job<'a>> {
    if run::is_interrupted() {
        return None;
    }
    queue.lock().unwrap().next()
}

/// Prints the table of all stages; says whether nothing failed.
pub(crate) fn table(ctx: &Ctx, rows: &[Row]) -> bool {
    let line = |a: &str, b: &str, c: &str, d: &str, e: &str, f: &str| {
        ctx.ui.say(format!("{a:<20} {b:<8} {c:>7} {d:>7} {e:>8} {f:>9}"));
    };
    ctx.ui.say("");
    line("stage", "result", "passed", "failed", "skipped", "time");
    for row in rows {
        let result = match (row.failed.is_empty(), row.passed) {
            (false, _) => "FAILED",
            (true, 0) => "skipped",
            (true, _) => "ok",
        };
        let time = format!("{:.1} s", row.elapsed.as_secs_f64());
        let [passed, failed, skipped] = [row.passed, row.failed.len(), row.skipped].map(|n| n.to_string());
        line(row.stage, result, &passed, &failed, &skipped, &time);
    }
    for row in rows.iter().filter(|row| !row.failed.is_empty()) {
        ctx.ui.say(format!("failed: {}: {}", row.stage, row.failed.join("; ")));
    }
    let sum = |f: fn(&Row) -> usize| rows.iter().map(f).sum::<usize>();
    let (passed, failed, skipped) = (sum(|r| r.passed), sum(|r| r.failed.len()), sum(|r| r.skipped));
    ctx.ui.say(format!("\n{passed} passed, {failed} failed, {skipped} skipped"));
    failed == 0
}
