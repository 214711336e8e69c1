//! The safe face, as a program sees it, under each tracker that this system has.
#![cfg(target_os = "linux")]

mod atomic;
mod basics;
mod conflict;
mod crash;
mod faults;
mod full_disk;
mod kill;
mod memmap2;
mod model;
mod much;
mod policy;
mod refused;
mod rough;
mod shared;
mod snapshot;
mod stores;

use mapback::{MmapOptions, TrackerKind};
use std::fs::File;
use std::path::PathBuf;

/// The trackers that this system has; all but `wp-async` are everywhere.
fn trackers() -> Vec<TrackerKind> {
    let usable: Vec<_> =
        TrackerKind::ALL.into_iter().filter(|kind| mapback::probe::try_tracker(*kind).is_ok()).collect();
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

    fn content(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    fn journal(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".mapback-journal");
        name.into()
    }
}
