//! Programs that work on files with several processes, and can natively check what these left.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::trackers;
use crate::ctx::Ctx;
use crate::mapback::{Mapback, Maps};
use crate::mounts::{Kind, Mount};
use crate::report::{Job, Report};
use crate::run::{Cmd, Log, how};
use crate::tracker::Tracker;

/// Who runs under mapback.
#[derive(Clone, Copy)]
pub(crate) enum Started {
    /// One `mapback run` starts the program, whose processes are all its descendants.
    Together,
    /// The program runs natively, and starts each process by a `mapback run` of its own.
    Apart,
}

impl Started {
    pub(crate) const ALL: [Self; 2] = [Self::Together, Self::Apart];

    fn name(self) -> &'static str {
        match self {
            Self::Together => "one mapback",
            Self::Apart => "a mapback each",
        }
    }
}

/// Such a program with its arguments.
#[derive(Clone)]
pub(crate) struct Several {
    /// What sets these arguments apart from others, for a case's name; may be empty.
    pub(crate) what: String,
    /// The program and, before the directory of its files, its arguments for the run and for the check
    pub(crate) run: Cmd,
    pub(crate) check: Cmd,
    /// What follows the directory
    pub(crate) arguments: Vec<String>,
    /// How many of its processes map files for writing.
    pub(crate) processes: usize,
    /// By what one sees, natively on direct_io, that it was the map that failed.
    pub(crate) refusal: &'static str,
}

impl Several {
    fn command(&self, cmd: &Cmd, dir: &Path) -> Cmd {
        // A process that waits for another gives up before.
        cmd.clone().arg(dir).args(&self.arguments).limit(Duration::from_secs(300))
    }

    fn check(&self, dir: &Path, log: &Log) -> Result<()> {
        self.command(&self.check, dir).run_ok(log).map(drop)
    }

    fn natively(&self, dir: &Path, log: &Log) -> Result<String> {
        let done = self.command(&self.run, dir).run_ok(log)?;
        self.check(dir, log)?;
        Ok(last_line(&done.output))
    }

    /// Natively where shared maps are refused.
    fn refused(&self, dir: &Path, log: &Log) -> Result<String> {
        let done = self.command(&self.run, dir).run(log)?;
        ensure!(
            !done.status.success(),
            "it passes without mapback: the file system does not refuse shared maps"
        );
        ensure!(done.output.contains(self.refusal), "it fails, but not with \"{}\"", self.refusal);
        Ok(format!("{}, {}", self.refusal, how(done.status)))
    }

    /// Under mapback in `dir`. `native`: the same directory where the check can map its files natively.
    fn under(
        &self,
        mapback: &Mapback,
        started: Started,
        dir: &Path,
        native: &Path,
        log: &Log,
    ) -> Result<String> {
        let cmd = self.command(&self.run, dir);
        let (done, served) = match started {
            Started::Together => mapback.run_served(cmd, log)?,
            Started::Apart => mapback.run_parts(cmd.arg("--"), log)?,
        };
        ensure!(
            served.processes >= self.processes,
            "mapback served writable maps in {} processes, not in {}",
            served.processes,
            self.processes
        );
        self.check(native, log)?;
        Ok(format!("{}, {} maps served", last_line(&done.output), served.maps))
    }
}

fn last_line(output: &str) -> String {
    output.lines().last().unwrap_or_default().to_owned()
}

/// All there is to show of `programs`: natively, and under each tracker on disk and on direct_io.
pub(crate) fn show(ctx: &Ctx, report: &mut Report, programs: &[(Several, Started)]) -> Result<()> {
    for program in without_repeats(programs) {
        report.case(name(["natively", &program.what, "on disk"]), |log| {
            program.natively(&ctx.fresh_dir("several")?, log)
        });
    }
    let usable = trackers(ctx, report);
    let all = || usable.iter().flat_map(|tracker| programs.iter().map(|(p, s)| (*tracker, p, *s)));
    report.side_by_side(
        all().map(|(tracker, program, started)| on_disk(ctx, program.clone(), tracker, started)).collect(),
    );
    let mount = Mount::new(ctx, Kind::Testkit)?;
    for program in without_repeats(programs) {
        report.case(name(["natively", &program.what, "on direct_io: fails"]), |log| {
            program.refused(&mount.fresh_dir("several")?, log)
        });
    }
    report.side_by_side(
        all()
            .map(|(tracker, program, started)| on_direct_io(ctx, &mount, program, tracker, started))
            .collect(),
    );
    Ok(())
}

/// Natively it is the same whoever is to start the processes.
fn without_repeats(programs: &[(Several, Started)]) -> Vec<&Several> {
    let mut each: Vec<&Several> = Vec::new();
    for (program, _) in programs {
        if !each.iter().any(|other| other.what == program.what) {
            each.push(program);
        }
    }
    each
}

fn on_direct_io<'a>(
    ctx: &'a Ctx,
    mount: &'a Mount,
    program: &'a Several,
    tracker: Tracker,
    started: Started,
) -> Job<'a> {
    let case = name([tracker.name(), started.name(), &program.what, "maps auto, on direct_io"]);
    let dir_name = dir_name(&case);
    let job = move |log: &_| {
        let mapback = Mapback::new(ctx, Maps::Auto, tracker, &ctx.fresh_dir(&dir_name)?);
        let dir = mount.fresh_dir(&dir_name)?;
        program.under(&mapback, started, &dir, &mount.source_of(&dir)?, log)
    };
    (case, Box::new(job))
}

/// One run on disk, in a directory of its own.
pub(crate) fn on_disk(ctx: &Ctx, program: Several, tracker: Tracker, started: Started) -> Job<'_> {
    let case = name([tracker.name(), started.name(), &program.what, "all maps, on disk"]);
    let dir_name = dir_name(&case);
    let job = move |log: &_| {
        let dir = ctx.fresh_dir(&dir_name)?;
        let mapback = Mapback::new(ctx, Maps::All, tracker, &dir);
        program.under(&mapback, started, &dir, &dir, log)
    };
    (case, Box::new(job))
}

/// A directory's name of its own for each case.
fn dir_name(case: &str) -> String {
    case.replace(", ", "-").replace(' ', "-")
}

/// Joins those words that are not empty.
fn name<const N: usize>(words: [&str; N]) -> String {
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}
