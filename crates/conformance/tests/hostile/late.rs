//! L9: a killed process's writes that are still on their way to the disk.

use std::os::fd::AsRawFd;

use libc::MS_SYNC;
use mapback_conformance::actor::Ask;
use mapback_conformance::slow::SlowDisk;
use mapback_conformance::{TestFile, does_not_apply, page, scene_under_mapback};

/// Pages apart from each other: so many that they are written past the page cache, all at once.
const RUNS: usize = 600;

fn values(file: &TestFile) -> Vec<u8> {
    (0..RUNS).map(|run| file.stored_byte(2 * run * page())).collect()
}

/// Waits for the writes that went past the page cache, as `fallocate` does before anything else, and has the next read
/// look at the disk.
fn settle(file: &TestFile) {
    let fd = file.file().as_raw_fd();
    // SAFETY: plain calls on a descriptor of the test's own.
    unsafe {
        assert_eq!(libc::fallocate(fd, libc::FALLOC_FL_KEEP_SIZE, 0, page() as i64), 0);
        assert_eq!(libc::fsync(fd), 0);
        assert_eq!(libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_DONTNEED), 0);
    }
}

#[test]
fn l09_what_a_killed_process_has_under_way_does_not_overwrite_what_others_store_next() {
    let scene = scene_under_mapback!();
    let file = scene.file_with(&vec![0; 2 * RUNS * page()]);
    file.file().sync_all().expect("the file on the disk");
    let Some(slow) = SlowDisk::of(file.file(), 100) else {
        return does_not_apply("no limit can be set to how fast this disk is written");
    };
    let killed = scene.actor();
    let map = killed.map(&file, file.len());
    (0..RUNS).for_each(|run| map.set(2 * run * page(), 1));
    slow.hold(killed.pid());
    killed.begin(&Ask::Sync { addr: map.at(0), len: map.len(), flags: MS_SYNC });
    while !values(&file).contains(&1) {
        std::thread::yield_now();
    }
    killed.kill_with_keeper();
    eprintln!(
        "killed with {} of {RUNS} pages on the disk",
        values(&file).iter().filter(|v| **v == 1).count()
    );

    let next = scene.actor();
    let map = next.map(&file, file.len());
    (0..RUNS).for_each(|run| assert_eq!(map.get(2 * run * page()), 1, "page {}", 2 * run));
    (0..RUNS).for_each(|run| map.set(2 * run * page(), 2));
    map.sync();
    slow.release();
    settle(&file);
    assert_eq!(values(&file), [2; RUNS]);
    map.unmap();
}
