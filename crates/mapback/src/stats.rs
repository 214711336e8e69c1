//! What was done for each file.

use core::sync::atomic::{AtomicU64, Ordering};
use std::path::PathBuf;
use std::time::Instant;

/// Counters of one image, added to from any thread.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) maps: AtomicU64,
    pub(crate) bytes_loaded: AtomicU64,
    pub(crate) pages_changed: AtomicU64,
    pub(crate) runs: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) load_ns: AtomicU64,
    pub(crate) write_back_ns: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Adds the time since `start`.
pub(crate) fn add_time(counter: &AtomicU64, start: Instant) {
    add(counter, start.elapsed().as_nanos() as u64);
}

/// What was done for one file, since this process began or was forked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStats {
    /// The file's name when it was first mapped.
    pub path: PathBuf,
    /// The tracker that was asked for last; empty when no map of the file was ever writable.
    pub tracker: String,
    /// How many times the file was mapped.
    pub maps: u64,
    /// Bytes read from the file into the image.
    pub bytes_loaded: u64,
    /// Pages found changed, each time that they were.
    pub pages_changed: u64,
    /// Runs of neighbouring changed pages (or bytes, with `compare`) that were written.
    pub runs: u64,
    /// Bytes written to the file.
    pub bytes_written: u64,
    /// Nanoseconds spent in loading.
    pub load_ns: u64,
    /// Nanoseconds spent in writing back.
    pub write_back_ns: u64,
}

impl Counters {
    /// The counters now.
    pub(crate) fn read(&self) -> FileStats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        FileStats {
            maps: get(&self.maps),
            bytes_loaded: get(&self.bytes_loaded),
            pages_changed: get(&self.pages_changed),
            runs: get(&self.runs),
            bytes_written: get(&self.bytes_written),
            load_ns: get(&self.load_ns),
            write_back_ns: get(&self.write_back_ns),
            ..FileStats::default()
        }
    }

    /// Begins anew, in a forked child.
    #[cfg(unix)]
    pub(crate) fn reset(&self) {
        let all = [
            &self.maps,
            &self.bytes_loaded,
            &self.pages_changed,
            &self.runs,
            &self.bytes_written,
            &self.load_ns,
            &self.write_back_ns,
        ];
        for counter in all {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

impl FileStats {
    /// Adds another file's counters to these.
    pub(crate) fn add(&mut self, other: &FileStats) {
        self.maps += other.maps;
        self.bytes_loaded += other.bytes_loaded;
        self.pages_changed += other.pages_changed;
        self.runs += other.runs;
        self.bytes_written += other.bytes_written;
        self.load_ns += other.load_ns;
        self.write_back_ns += other.write_back_ns;
        if !other.tracker.is_empty() {
            self.tracker.clone_from(&other.tracker);
        }
    }

    /// Whether anything was done.
    pub(crate) fn is_empty(&self) -> bool {
        *self == FileStats { path: self.path.clone(), tracker: self.tracker.clone(), ..FileStats::default() }
    }
}
