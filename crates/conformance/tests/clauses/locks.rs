//! L10: the program's record locks outlive every map and unmap.

use std::os::fd::AsRawFd;

use mapback_conformance::process::fork;
use mapback_conformance::{Map, TestFile, own_process, page};

fn record_lock(kind: i32) -> libc::flock {
    // SAFETY: plain data that may be zero, which means the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as i16;
    lock
}

/// Whether another process finds the file locked.
fn locked_for_others(file: &TestFile) -> bool {
    let held = fork(|| {
        let mut lock = record_lock(libc::F_WRLCK);
        // SAFETY: the struct lives through the call.
        assert_eq!(unsafe { libc::fcntl(file.fd(), libc::F_GETLK, &mut lock) }, 0);
        i32::from(lock.l_type) != libc::F_UNLCK
    });
    held.wait() == mapback_conformance::process::Exit::Code(0)
}

#[test]
fn l10_fcntl_locks_survive_maps() {
    own_process!();
    let file = TestFile::new(2 * page());
    let lock = record_lock(libc::F_WRLCK);
    // SAFETY: the struct lives through the call.
    assert_eq!(unsafe { libc::fcntl(file.fd(), libc::F_SETLK, &lock) }, 0);
    assert!(locked_for_others(&file));
    for round in 0..3 {
        let map = Map::shared(&file, 2 * page());
        let second = Map::private(&file, 2 * page());
        map.set(page(), round);
        map.sync();
        assert!(locked_for_others(&file), "while mapped");
        map.unmap();
        second.unmap();
        assert!(locked_for_others(&file), "after munmap, round {round}");
    }
}

#[test]
fn l10_fcntl_locks_taken_while_mapped_survive_the_unmap() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    let lock = record_lock(libc::F_WRLCK);
    // SAFETY: the struct lives through the call.
    assert_eq!(unsafe { libc::fcntl(file.fd(), libc::F_SETLK, &lock) }, 0);
    map.set(0, 1);
    map.unmap();
    assert!(locked_for_others(&file));
}

#[test]
fn l10_flock_locks_survive_maps_and_end_with_their_descriptor() {
    own_process!();
    let file = TestFile::new(page());
    let descriptor = file.open(libc::O_RDWR);
    // SAFETY: no memory is passed.
    let lock = |fd, operation| unsafe { libc::flock(fd, operation | libc::LOCK_NB) };
    assert_eq!(lock(descriptor.as_raw_fd(), libc::LOCK_EX), 0);
    let map =
        Map::new(page(), mapback_conformance::map::RW, libc::MAP_SHARED, descriptor.as_raw_fd(), 0).unwrap();
    map.set(0, 1);
    assert_eq!(lock(file.fd(), libc::LOCK_EX), -1, "held by the other descriptor");
    map.sync();
    assert_eq!(lock(file.fd(), libc::LOCK_EX), -1);
    map.unmap();
    assert_eq!(lock(file.fd(), libc::LOCK_EX), -1);
    drop(descriptor);
    assert_eq!(
        lock(file.fd(), libc::LOCK_EX),
        0,
        "the program has closed its descriptor, and the lock is gone"
    );
}
