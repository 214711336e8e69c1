//! Shared maps of the Rust crate beside programs that run under mapback.

mod common;

use common::*;
use mapback::{MmapShared, TrackerKind};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where this program finds its file when it is run under mapback, and as what it shall map it.
const FILE: &str = "MAPBACK_TEST_SHARED_FILE";
const AS: &str = "MAPBACK_TEST_SHARED_AS";
const LEN: usize = 20_000;

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// What a program that knows nothing of mapback does: finds 1 in byte 0, and stores 2 in byte 1.
fn work(bytes: &[AtomicU8]) {
    assert_eq!(bytes[0].load(Ordering::Acquire), 1, "the other has stored it, and not flushed");
    bytes[1].store(2, Ordering::Release);
    bytes[LEN - 1].store(3, Ordering::Release);
}

/// By itself it works in memory; under mapback in the file.
#[test]
fn the_program() {
    let Some(path) = std::env::var_os(FILE) else {
        let bytes: Vec<AtomicU8> = (0..LEN).map(|nth| AtomicU8::new(u8::from(nth == 0))).collect();
        work(&bytes);
        assert_eq!(bytes[1].load(Ordering::Relaxed), 2);
        return;
    };
    let file = open(path.as_ref());
    if std::env::var_os(AS).is_some_and(|what| what == "crate") {
        return work(&MmapShared::map_shared(&file).unwrap());
    }
    let (prot, null) = (libc::PROT_READ | libc::PROT_WRITE, std::ptr::null_mut());
    // SAFETY: a new map at an address that the system chooses.
    let map = unsafe { libc::mmap(null, LEN, prot, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_ne!(map, libc::MAP_FAILED);
    // SAFETY: mapped in the lines above, for as long as this process lives; bytes that others may change.
    work(unsafe { std::slice::from_raw_parts(map.cast(), LEN) });
}

#[test]
fn a_map_of_the_crate_and_maps_of_programs_under_mapback_are_one() {
    // Both sides in processes of their own would take a protocol; this one has one tracker, the others all in turn.
    for (tracker, kind) in TrackerKind::ALL.into_iter().zip(["libc", "crate", "libc", "libc"]) {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![0; LEN]).unwrap();
        let map = MmapShared::map_shared(open(&path)).unwrap();
        map[0].store(1, Ordering::Release);
        let mut run = mapback(&["run", "--maps", "all", "--tracker", tracker.name(), "--"]);
        run.arg(std::env::current_exe().unwrap());
        run.args(["--exact", "the_program", "--test-threads=1"]).env(FILE, &path).env(AS, kind);
        let output = run.output().unwrap();
        assert!(output.status.success(), "{tracker}: {}{}", text(&output.stdout), text(&output.stderr));
        let found = [1, LEN - 1].map(|at| map[at].load(Ordering::Acquire));
        assert_eq!(found, [2, 3], "{tracker}, {kind}");
        map.flush().unwrap();
        let content = std::fs::read(&path).unwrap();
        assert_eq!((content.len(), content[0], content[1], content[LEN - 1]), (LEN, 1, 2, 3), "{tracker}");
    }
}
