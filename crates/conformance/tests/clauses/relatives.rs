//! P30, L6 and L10 among relatives: what one process does to a file that the other, by `fork`, has mapped as well.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libc::{MAP_SHARED, PROT_READ};
use mapback_conformance::calls::ftruncate;
use mapback_conformance::file::{open, pattern};
use mapback_conformance::process::{Exit, Gate, fork};
use mapback_conformance::{Map, TestFile, own_process, page};

#[test]
fn p30_the_parent_takes_back_what_a_child_has_written() {
    own_process!();
    // Compared with the bytes first loaded, the parent's last store looks like no change at all.
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    let old = map.get(0);
    fork(|| {
        map.set(0, old + 1);
        map.sync();
        file.stored_byte(0) == old + 1
    })
    .assert_good();
    assert_eq!(map.get(0), old + 1);
    map.set(0, old);
    map.sync();
    assert_eq!(file.stored_byte(0), old);
}

#[test]
fn p30_a_child_takes_back_what_the_parent_has_written() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    let old = map.get(0);
    let written = Gate::new();
    let child = fork(|| {
        written.pass();
        map.set(0, old);
        map.sync();
        file.stored_byte(0) == old
    });
    map.set(0, old + 1);
    map.sync();
    assert_eq!(file.stored_byte(0), old + 1);
    written.open();
    child.assert_good();
    map.unmap();
    assert_eq!(file.stored_byte(0), old);
}

#[test]
fn p30_a_childs_store_where_the_parent_made_the_file_grow() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, 8 * page());
    let grown = Gate::new();
    let child = fork(|| {
        grown.pass();
        map.set(5 * page(), 7);
        map.sync();
        true
    });
    ftruncate(file.fd(), 8 * page() as i64).unwrap();
    grown.open();
    child.assert_good();
    assert_eq!(file.stored_byte(5 * page()), 7, "after the child's msync");
    map.unmap();
    assert_eq!(file.stored_byte(5 * page()), 7, "after the parent's munmap");
}

#[test]
fn p30_a_childs_new_map_leaves_what_the_parent_stored_in_grown_pages() {
    own_process!();
    let file = TestFile::new(page() + 904);
    let map = Map::shared(&file, 4 * page());
    let stored = Gate::new();
    let child = fork(|| {
        stored.pass();
        // Mapped until the child's end: the child has learnt of the size here and nowhere else.
        let again = Map::new(page(), PROT_READ, MAP_SHARED, file.fd(), 0);
        again.is_ok_and(|again| again.get(0) == pattern(0) && again.leak().1 == page())
    });
    ftruncate(file.fd(), 2 * page() as i64 + 1808).unwrap();
    let (in_the_old_last_page, in_a_new_page) = (page() + 1904, 2 * page() + 808);
    map.set(in_the_old_last_page, 7);
    map.set(in_a_new_page, 8);
    stored.open();
    child.assert_good();
    assert_eq!((map.get(in_the_old_last_page), map.get(in_a_new_page)), (7, 8), "the map");
    map.sync();
    assert_eq!(file.stored_byte(in_the_old_last_page), 7);
    assert_eq!(file.stored_byte(in_a_new_page), 8);
}

/// The child cuts the file of `len` bytes to `cut`, the parent makes it `regrown` bytes and stores at `offset`.
fn assert_kept_after_a_childs_cut(len: usize, cut: usize, regrown: usize, offset: usize) {
    let file = TestFile::new(len);
    let map = Map::shared(&file, 3 * page());
    fork(|| ftruncate(file.fd(), cut as i64).is_ok()).assert_good();
    ftruncate(file.fd(), regrown as i64).unwrap();
    map.set(offset, 7);
    assert_eq!(map.bytes(offset - 1, 3), [0, 7, 0], "cut off and grown again");
    map.sync();
    assert_eq!(file.stored_byte(offset), 7);
    map.unmap();
    assert_eq!(file.len(), regrown);
    assert_eq!(file.stored(0, cut), (0..cut).map(pattern).collect::<Vec<u8>>(), "what the cut left");
    assert_eq!(file.stored_byte(offset), 7);
}

#[test]
fn l06_a_child_shrinks_the_file_and_the_parent_grows_it_to_its_old_size() {
    own_process!();
    assert_kept_after_a_childs_cut(2 * page(), 100, 2 * page(), page() + 904);
}

#[test]
fn l06_a_child_empties_the_file_and_the_parent_makes_it_bigger_than_ever() {
    own_process!();
    assert_kept_after_a_childs_cut(page() + 904, 0, 2 * page() + 1808, 2 * page() + 808);
}

fn record_lock() -> libc::flock {
    // SAFETY: plain data that may be zero, which means the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as i16;
    lock
}

/// Opens and closes descriptors in three threads while `body` runs.
fn beside_open_and_close(body: impl FnOnce()) {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _done = Done(&done); // also when `body` panics
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    drop(open(Path::new("/dev/null"), libc::O_RDONLY));
                }
            });
        }
        body();
    });
}

#[test]
fn l10_a_child_closes_while_the_parents_threads_do_and_a_record_lock_is_held() {
    own_process!();
    // The lock outlives its map, so whoever closes a descriptor has to see to it; a child must not wait for a thread
    // of the parent's that was about to when it forked.
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    map.set(0, 1);
    // SAFETY: the struct lives through the call.
    assert_eq!(unsafe { libc::fcntl(file.fd(), libc::F_SETLK, &record_lock()) }, 0);
    map.unmap();
    let spare = open(Path::new("/dev/null"), libc::O_RDONLY);
    beside_open_and_close(|| {
        for round in 0..300 {
            // SAFETY: the child ends without using or dropping its copy of the descriptor.
            let child = fork(|| unsafe { libc::close(spare.as_raw_fd()) } == 0);
            assert_eq!(child.wait(), Exit::Code(0), "round {round}");
        }
    });
    let locked = fork(|| {
        let mut lock = record_lock();
        // SAFETY: the struct lives through the call.
        let asked = unsafe { libc::fcntl(file.fd(), libc::F_GETLK, &mut lock) };
        asked == 0 && i32::from(lock.l_type) != libc::F_UNLCK
    });
    assert_eq!(locked.wait(), Exit::Code(0), "the lock is still held");
    assert_eq!(file.stored_byte(0), 1);
}
