//! Programs that are killed between any two system calls of an atomic flush.

use super::{Fixture, trackers};
use mapback::{MmapMut, MmapOptions};
use mapback_testkit::{kill, store::Random};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

const PAGES: usize = 6;
const PAGE: usize = 4096;
const COMMITS: u64 = 12;
/// Where this program finds its file when it is the one to be killed.
const FILE: &str = "MAPBACK_TEST_KILL_FILE";

/// Commits the same number to all pages, again and again, and notes each commit that is done.
fn workload(path: &PathBuf) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let done = File::options().write(true).open(path.with_extension("done")).unwrap();
    // Small, so that checkpoints come in between.
    let mut map = MmapOptions::new().journal_limit(70_000).map_mut(&file).unwrap();
    for n in 1..=COMMITS {
        for page in map.chunks_mut(PAGE) {
            page[..8].copy_from_slice(&n.to_le_bytes());
            page[PAGE - 8..].copy_from_slice(&n.to_le_bytes());
        }
        map.flush_atomic().unwrap();
        done.write_all_at(&n.to_le_bytes(), 0).unwrap();
    }
    map.close().unwrap();
}

fn fixture() -> Fixture {
    // In memory, if possible: a kill loses nothing that was written, synced or not.
    let shm = PathBuf::from("/dev/shm");
    let dir = tempfile::tempdir_in(if shm.is_dir() { shm } else { std::env::temp_dir() }).unwrap();
    let file = Fixture::within(dir, &[0; PAGES * PAGE]);
    std::fs::write(file.path.with_extension("done"), [0; 8]).unwrap();
    file
}

/// The one number that all pages have.
fn found(file: &Fixture) -> u64 {
    let map = MmapMut::map_mut(file.open()).unwrap();
    let numbers: Vec<u64> =
        map.chunks(8).step_by(PAGE / 8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect();
    let last: Vec<u64> =
        map.chunks(PAGE).map(|p| u64::from_le_bytes(p[PAGE - 8..].try_into().unwrap())).collect();
    assert!(numbers.iter().chain(&last).all(|n| *n == numbers[0]), "{numbers:?} {last:?}");
    numbers[0]
}

/// What the test below starts, in a process of its own; by itself it is the workload without a kill.
#[test]
fn the_workload() {
    match std::env::var_os(FILE) {
        Some(path) => {
            kill::begin();
            workload(&path.into());
        }
        None => {
            let file = fixture();
            workload(&file.path);
            assert_eq!(found(&file), COMMITS);
        }
    }
}

#[test]
fn a_kill_between_any_two_system_calls_leaves_a_commit_whole() {
    for kind in trackers() {
        let run = |file: &Fixture, nth: usize| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "kill::the_workload", "--test-threads=1", "--quiet"]);
            command.env(FILE, &file.path).env("MAPBACK_TRACKER", kind.name());
            command.stdout(std::process::Stdio::null());
            kill::run(&mut command, nth).unwrap()
        };
        let file = fixture();
        let all = run(&file, usize::MAX);
        assert_eq!(found(&file), COMMITS);
        assert!(all > 100, "only {all} stops: was the workload traced?");
        let mut random = Random(kind as u64);
        let mut killed_midway = 0;
        for _ in 0..125 {
            let file = fixture();
            let nth = 1 + random.below(all);
            run(&file, nth);
            let done = u64::from_le_bytes(
                std::fs::read(file.path.with_extension("done")).unwrap().try_into().unwrap(),
            );
            let found = found(&file);
            assert!(found == done || found == done + 1, "{kind}, stop {nth}: {done} done, {found} found");
            killed_midway += usize::from(done < COMMITS);
            assert!(!file.journal().exists(), "{kind}, stop {nth}: the replay leaves no journal");
        }
        assert!(killed_midway > 50, "{kind}: only {killed_midway} kills hit the commits");
    }
}
