//! Running a program under `mapback run`, with evidence that mapback served its maps.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::ctx::Ctx;
use crate::run::{Cmd, Done, Log};
use crate::tracker::Tracker;

/// Which maps mapback takes over.
#[derive(Clone, Copy)]
pub(crate) enum Maps {
    /// Those that the file system refuses.
    Auto,
    /// Those of every regular file on disk.
    All,
}

impl Maps {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::All => "all",
        }
    }
}

/// A `mapback run` with its options.
#[derive(Clone)]
pub(crate) struct Mapback {
    program: PathBuf,
    maps: Maps,
    tracker: Tracker,
    stats: PathBuf,
}

/// What mapback did in one run, told by its statistics.
pub(crate) struct Served {
    /// How many maps had the tracker that was asked for.
    pub(crate) maps: u64,
    /// In how many processes.
    pub(crate) processes: usize,
}

/// The part that matters here of the line which each process under mapback leaves at its end.
#[derive(Deserialize)]
struct ProcessStats {
    files: Vec<FileStats>,
}

#[derive(Deserialize)]
struct FileStats {
    tracker: String,
    maps: u64,
}

impl Mapback {
    /// `stats_dir` is a directory for the statistics file by which [`Self::run_ok`] knows that maps were served.
    pub(crate) fn new(ctx: &Ctx, maps: Maps, tracker: Tracker, stats_dir: &Path) -> Self {
        let program = std::env::var_os("XTASK_MAPBACK").map_or_else(|| ctx.program("mapback"), PathBuf::from);
        let stats = stats_dir.join(format!("stats-{}-{}.json", maps.name(), tracker.name()));
        Self { program, maps, tracker, stats }
    }

    /// `cmd` started by `mapback run`.
    pub(crate) fn wrap(&self, cmd: Cmd) -> Cmd {
        cmd.wrapped_by(self.words()).env("MAPBACK_STATS", &self.stats)
    }

    /// The words that come before a program's own.
    fn words(&self) -> impl Iterator<Item = OsString> {
        let options = ["run", "--maps", self.maps.name(), "--tracker", self.tracker.name(), "--"];
        [self.program.clone().into_os_string()].into_iter().chain(options.map(OsString::from))
    }

    /// Runs `cmd` under mapback. Fails unless it exits with status 0 and mapback served at least one map with the
    /// tracker asked for: a run that mapback left alone proves nothing.
    pub(crate) fn run_ok(&self, cmd: Cmd, log: &Log) -> Result<(Done, u64)> {
        let (done, served) = self.run_served(cmd, log)?;
        Ok((done, served.maps))
    }

    /// The same, and tells in how many processes.
    pub(crate) fn run_served(&self, cmd: Cmd, log: &Log) -> Result<(Done, Served)> {
        self.forget()?;
        let done = self.wrap(cmd).run_ok(log)?;
        Ok((done, self.served()?))
    }

    /// Runs `cmd` itself natively, with the words at its end by which it is to start others under mapback.
    pub(crate) fn run_parts(&self, cmd: Cmd, log: &Log) -> Result<(Done, Served)> {
        self.forget()?;
        let done = cmd.args(self.words()).env("MAPBACK_STATS", &self.stats).run_ok(log)?;
        Ok((done, self.served()?))
    }

    /// Runs `cmd` under mapback to its end, whatever that is.
    pub(crate) fn run(&self, cmd: Cmd, log: &Log) -> Result<Done> {
        self.forget()?;
        self.wrap(cmd).run(log)
    }

    /// Removes the statistics of an earlier run.
    fn forget(&self) -> Result<()> {
        if self.stats.exists() {
            fs::remove_file(&self.stats)
                .with_context(|| format!("cannot remove {}", self.stats.display()))?;
        }
        Ok(())
    }

    /// What the last run's statistics say; fails if they say that mapback served no map with the tracker asked for.
    pub(crate) fn served(&self) -> Result<Served> {
        let text = fs::read_to_string(&self.stats)
            .with_context(|| format!("mapback left no statistics in {}", self.stats.display()))?;
        let mut served = Served { maps: 0, processes: 0 };
        for line in text.lines() {
            let process: ProcessStats = serde_json::from_str(line)
                .with_context(|| format!("bad line in {}: {line}", self.stats.display()))?;
            // Maps that were never writable have none, and tests that take a tracker away get another.
            let files = process.files.iter().filter(|file| file.tracker == self.tracker.name());
            let maps: u64 = files.map(|file| file.maps).sum();
            served.maps += maps;
            served.processes += usize::from(maps > 0);
        }
        ensure!(
            served.maps > 0,
            "mapback served no map with the tracker {}: the run proves nothing ({})",
            self.tracker.name(),
            self.stats.display()
        );
        Ok(served)
    }
}
