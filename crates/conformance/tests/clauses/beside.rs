//! Calls that change a map or its file while another thread, or a signal handler, uses it.
//!
//! The rounds are counted, and whatever the threads' order, nothing may be lost or fault.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use libc::{MAP_FIXED, MAP_SHARED, MS_ASYNC, PROT_NONE, SA_RESTART, SIGUSR1};
use mapback_conformance::calls::{assert_errno, count, mmap, mremap, msync};
use mapback_conformance::file::pattern;
use mapback_conformance::map::{RW, get};
use mapback_conformance::process::Gate;
use mapback_conformance::signals;
use mapback_conformance::{Map, TestFile, own_process, page};

/// Sets the flag when it goes, so that a panic ends the thread beside too.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `beside` again and again in another thread, at least once, while `body` runs; both start together.
fn beside(beside: impl Fn(usize) + Sync, body: impl FnOnce()) {
    let (done, started) = (AtomicBool::new(false), Gate::new());
    thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            started.open();
            for round in 0.. {
                beside(round);
                if done.load(Ordering::Acquire) {
                    return;
                }
            }
        });
        started.pass();
        body();
    });
}

static FILE: AtomicI32 = AtomicI32::new(-1);
static READS: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicUsize = AtomicUsize::new(0);

/// Reads the mapped file, as a handler may: pread is async-signal-safe.
extern "C" fn read_the_file(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let mut byte = 0u8;
    // SAFETY: the byte lives through the call.
    let read = unsafe { libc::pread(FILE.load(Ordering::Relaxed), (&raw mut byte).cast(), 1, 1) };
    if read != 1 || byte != pattern(1) {
        FAILED.fetch_add(1, Ordering::Relaxed);
    }
    READS.fetch_add(1, Ordering::Release);
}

#[test]
fn p22_a_handler_reads_the_file_while_its_thread_is_in_msync() {
    own_process!();
    let pages = 256;
    let file = TestFile::new(pages * page());
    let map = Map::shared(&file, pages * page());
    FILE.store(file.fd(), Ordering::Relaxed);
    signals::install(SIGUSR1, read_the_file, SA_RESTART, &[]);
    // SAFETY: asks only.
    let syncing = unsafe { libc::pthread_self() };
    let send = |_| {
        // SAFETY: the thread waits in `beside` for this one to end.
        assert_eq!(unsafe { libc::pthread_kill(syncing, SIGUSR1) }, 0);
        thread::sleep(Duration::from_micros(700)); // leaves it time to get into the next msync
    };
    beside(send, || {
        let mut round = 0;
        while READS.load(Ordering::Acquire) < 200 {
            map.set(round % pages * page(), round as u8);
            map.sync();
            assert_eq!(file.stored_byte(round % pages * page()), round as u8, "round {round}");
            round += 1;
        }
    });
    assert_eq!(FAILED.load(Ordering::Relaxed), 0, "reads in the handler failed or saw other bytes");
}

#[test]
fn l02_no_store_is_lost_beside_a_copy_into_the_file() {
    own_process!();
    const LEN: usize = 8 << 20;
    let (file, source) = (TestFile::sparse(LEN as u64), TestFile::new(16 * page()));
    let map = Map::shared(&file, LEN);
    let store = |round: usize| {
        map.set(LEN - 5, round as u8);
        for _ in 0..200 {
            assert_eq!(map.get(LEN - 5), round as u8, "the store of round {round} is lost");
        }
    };
    beside(store, || {
        for _ in 0..300 {
            let (mut from, mut to) = (0, 0);
            // SAFETY: the offsets live through the call.
            let copied =
                unsafe { libc::copy_file_range(source.fd(), &mut from, file.fd(), &mut to, page(), 0) };
            assert_eq!(count(copied), Ok(page()));
        }
    });
    assert_eq!(map.bytes(0, page()), (0..page()).map(pattern).collect::<Vec<u8>>(), "what was copied");
    let last = map.get(LEN - 5);
    map.unmap();
    assert_eq!(file.stored_byte(LEN - 5), last);
    assert_eq!(file.len(), LEN);
}

const PAGES: usize = 16;

#[test]
fn l05_an_mremap_that_finds_no_room_does_not_disturb_stores() {
    own_process!();
    let file = TestFile::sparse((PAGES * page()) as u64);
    // The last page stays reserved, so that the map before it cannot grow where it is.
    let room = Map::anonymous((PAGES + 1) * page(), PROT_NONE);
    mmap(room.addr(), PAGES * page(), RW, MAP_SHARED | MAP_FIXED, file.fd(), 0).unwrap();
    let stores = AtomicUsize::new(0);
    let store = |_| {
        for at in 0..PAGES {
            room.set(at * page(), room.get(at * page()).wrapping_add(1));
        }
        stores.fetch_add(1, Ordering::Relaxed);
    };
    beside(store, || {
        for _ in 0..5000 {
            assert_errno(mremap(room.addr(), PAGES * page(), 2 * PAGES * page(), 0, 0), libc::ENOMEM);
        }
    });
    let wanted = stores.load(Ordering::Relaxed) as u8;
    for at in 0..PAGES {
        assert_eq!(room.get(at * page()), wanted, "the map, page {at}");
    }
    room.unmap();
    for at in 0..PAGES {
        assert_eq!(file.stored_byte(at * page()), wanted, "the file, page {at}");
    }
}

#[test]
fn p09_a_map_replaced_by_its_like_stays_readable_throughout() {
    own_process!();
    let file = TestFile::new(PAGES * page());
    let map = Map::shared(&file, PAGES * page());
    let load = |_| {
        for at in 0..PAGES {
            assert_eq!(get(map.at(at * page())), pattern(at * page()), "page {at}");
        }
    };
    beside(load, || {
        for round in 0..5000 {
            let over = mmap(map.addr(), PAGES * page(), RW, MAP_SHARED | MAP_FIXED, file.fd(), 0);
            assert_eq!(over, Ok(map.addr()), "round {round}");
        }
    });
}

#[test]
fn l06_a_file_emptied_by_open_beside_a_write_back_stays_empty() {
    own_process!();
    const LEN: usize = 32 << 20;
    for round in 0..30 {
        let file = TestFile::sparse(LEN as u64);
        let map = Map::shared(&file, LEN);
        for at in (0..LEN).step_by(2 * page()) {
            map.set(at, 1);
        }
        let write_back = |_| msync(map.addr(), LEN, MS_ASYNC).unwrap();
        beside(write_back, || {
            // Each round cuts the file at another point of the write-back.
            thread::sleep(Duration::from_millis(round));
            let emptied = file.open(libc::O_RDWR | libc::O_TRUNC);
            // SAFETY: no memory is passed.
            let end = unsafe { libc::lseek(emptied.as_raw_fd(), 0, libc::SEEK_END) };
            assert_eq!(end, 0, "round {round}: the size just after O_TRUNC");
        });
        map.unmap();
        assert_eq!(file.len(), 0, "round {round}: the size after munmap");
    }
}
