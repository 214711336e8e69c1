//! The safe face, as a program sees it, under each tracker that this system has.
#![cfg(any(target_os = "linux", windows))]

mod atomic;
mod basics;
mod conflict;
mod crash;
mod faults;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(target_os = "linux")]
mod kill;
mod memmap2;
mod model;
mod much;
mod policy;
#[cfg(target_os = "linux")]
mod refused;
mod rough;
#[cfg(target_os = "linux")]
mod shared;
mod snapshot;
mod stores;
#[cfg(windows)]
mod windows;

use mapback::{MmapOptions, TrackerKind};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

/// The trackers that this system has; all but `wp-async` are everywhere.
fn trackers() -> Vec<TrackerKind> {
    #[cfg(target_os = "linux")]
    let works = |kind: &TrackerKind| mapback::probe::try_tracker(*kind).is_ok();
    // Windows has all of its own.
    #[cfg(windows)]
    let works = |_: &TrackerKind| true;
    let usable: Vec<_> = TrackerKind::ALL.into_iter().filter(works).collect();
    assert!(usable.len() >= 3, "only {usable:?}");
    usable
}

/// Options for each tracker.
fn each_tracker() -> impl Iterator<Item = MmapOptions> {
    trackers().into_iter().map(|kind| MmapOptions::new().tracker(kind).clone())
}

/// A file in a directory of its own, which goes with it.
struct Fixture {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new(content: &[u8]) -> Fixture {
        Fixture::within(tempfile::tempdir().unwrap(), content)
    }

    fn within(dir: tempfile::TempDir, content: &[u8]) -> Fixture {
        let path = dir.path().join("file");
        std::fs::write(&path, content).unwrap();
        Fixture { _dir: dir, path }
    }

    fn open(&self) -> File {
        File::options().read(true).write(true).open(&self.path).unwrap()
    }

    /// Writes to the file by other means than a map.
    fn write_at(&self, bytes: &[u8], at: u64) {
        let mut file = self.open();
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes)).unwrap();
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    fn journal(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".mapback-journal");
        name.into()
    }
}
