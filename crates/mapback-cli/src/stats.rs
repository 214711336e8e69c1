//! `--stats`: gathers what each process tells at its end, and shows it per file.

mod render;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::child::End;

pub use render::{json, table};

/// Where the processes write, one line of JSON each.
#[derive(Debug)]
pub struct Collector {
    folder: TempDir,
}

impl Collector {
    /// An empty file in a folder that is ours alone.
    pub fn new() -> io::Result<Self> {
        let private = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("mapback-stats-").permissions(private).tempdir()?;
        let collector = Collector { folder };
        fs::File::create_new(collector.path())?;
        Ok(collector)
    }

    /// The file's path, for `MAPBACK_STATS`.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("lines")
    }

    /// All that was written.
    pub fn lines(&self) -> io::Result<Vec<u8>> {
        fs::read(self.path())
    }
}

/// What one process tells at its end.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    pid: u32,
    program: String,
    #[serde(default)]
    files: Vec<FileLine>,
}

#[derive(Clone, Debug, Deserialize)]
struct FileLine {
    path: String,
    tracker: String,
    #[serde(flatten)]
    counts: Counts,
}

/// What was done for one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Counts {
    maps: u64,
    bytes_loaded: u64,
    pages_changed: u64,
    runs: u64,
    bytes_written: u64,
    load_ns: u64,
    write_back_ns: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.maps += other.maps;
        self.bytes_loaded += other.bytes_loaded;
        self.pages_changed += other.pages_changed;
        self.runs += other.runs;
        self.bytes_written += other.bytes_written;
        self.load_ns += other.load_ns;
        self.write_back_ns += other.write_back_ns;
    }
}

/// One file, over all processes.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileReport {
    path: String,
    trackers: BTreeSet<String>,
    processes: usize,
    #[serde(flatten)]
    counts: Counts,
}

/// A process that told something.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ProcessReport {
    pid: u32,
    program: String,
    files: usize,
}

/// Everything, as `--stats=json` prints it.
#[derive(Debug, Serialize)]
pub struct Report {
    processes: Vec<ProcessReport>,
    files: Vec<FileReport>,
    /// What is missing from the figures, in words.
    missing: Vec<String>,
}

/// The program that was run.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its path.
    pub path: &'a Path,
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub end: End,
    /// Why it was out of reach, if it was.
    pub unreachable: Option<&'a str>,
}

impl Report {
    /// Merges the lines, file by file.
    pub fn new(lines: &[u8], subject: &Subject<'_>) -> Self {
        let mut report = Report { processes: Vec::new(), files: Vec::new(), missing: Vec::new() };
        let mut files: BTreeMap<String, FileReport> = BTreeMap::new();
        let mut unreadable = 0usize;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // Paths need not be UTF-8, and what a program writes need not be right.
            let Ok(line) = serde_json::from_str::<Line>(&String::from_utf8_lossy(line)) else {
                unreadable += 1;
                continue;
            };
            merge(&mut files, &line.files);
            report.processes.push(ProcessReport {
                pid: line.pid,
                program: line.program,
                files: line.files.len(),
            });
        }
        report.files = files.into_values().collect();
        report.missing.extend(silence(&report.processes, subject));
        if unreadable > 0 {
            report.missing.push(format!("{unreadable} line(s) of statistics could not be read"));
        }
        report
    }
}

fn merge(files: &mut BTreeMap<String, FileReport>, lines: &[FileLine]) {
    let mut seen = BTreeSet::new();
    for line in lines {
        let file = files.entry(line.path.clone()).or_default();
        file.path.clone_from(&line.path);
        file.trackers.insert(line.tracker.clone());
        file.processes += usize::from(seen.insert(&line.path));
        file.counts.add(&line.counts);
    }
}

/// What to say if the program itself told nothing.
fn silence(told: &[ProcessReport], subject: &Subject<'_>) -> Option<String> {
    if told.iter().any(|process| process.pid == subject.pid) {
        return None;
    }
    let who = format!("{} (process {})", subject.path.display(), subject.pid);
    Some(match (subject.unreachable, subject.end) {
        (Some(why), _) => format!("{who} told nothing: it {why}"),
        (None, End::Killed(signal)) => {
            format!("{who} told nothing: {} ended it before it could", crate::child::signal_name(signal))
        }
        (None, End::Exited(status)) => {
            format!("{who} told nothing, although it exited with status {status}: was the interposer loaded?")
        }
    })
}

#[cfg(test)]
#[path = "stats/tests.rs"]
mod tests;
