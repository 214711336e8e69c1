//! Stores, `msync`, `mprotect`, `mmap`, `munmap` and `fork` from many threads at once; looked at in the end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use libc::{MAP_FIXED, MAP_SHARED, PROT_READ};
use mapback_conformance::calls::{mmap, msync, munmap};
use mapback_conformance::map::{RW, get, set};
#[cfg(unix)]
use mapback_conformance::process::fork;
use mapback_conformance::process::maps_are_alone;
use mapback_conformance::{Map, TestFile, does_not_apply, own_process, page};

const THREADS: usize = 4;

/// Runs `work` in each of `THREADS` threads, and `beside` again and again until they are done.
fn race(work: impl Fn(usize) + Sync, beside: impl Fn(usize) + Sync) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let beside = scope.spawn(|| {
            for round in 0.. {
                beside(round);
                if done.load(Ordering::Acquire) {
                    return;
                }
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let work = &work;
                    move || work(thread)
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Release);
        beside.join().expect("the thread beside");
        assert!(results.iter().all(Result::is_ok), "a worker failed");
    });
}

#[test]
fn p22_no_store_is_lost_while_another_thread_syncs() {
    own_process!();
    const ROUNDS: usize = 3000;
    let pages = 32;
    let file = TestFile::new(pages * page());
    let map = Map::shared(&file, pages * page());
    // Each thread has a byte of its own in every page; so pages are shared and bytes are not.
    let work = |thread: usize| {
        for round in 0..ROUNDS {
            map.set(round * 7 % pages * page() + thread, round as u8);
        }
    };
    race(work, |_| map.sync());
    let expected: Vec<Vec<u8>> = (0..pages).map(|at| map.bytes(at * page(), THREADS)).collect();
    for (at, found) in expected.iter().enumerate() {
        let last = (0..ROUNDS).rev().find(|round| round * 7 % pages == at).unwrap() as u8;
        assert_eq!(*found, [last; THREADS], "the map, page {at}");
    }
    map.sync();
    for (at, wanted) in expected.iter().enumerate() {
        assert_eq!(file.stored(at * page(), THREADS), *wanted, "the file, page {at}");
    }
}

#[test]
fn p22_what_was_stored_before_an_msync_is_in_the_file_after_it() {
    own_process!();
    let file = TestFile::new(THREADS * page());
    let map = Map::shared(&file, THREADS * page());
    let work = |thread: usize| {
        for round in 0..300u32 {
            let at = thread * page() + 16;
            map.put(at, &round.to_ne_bytes());
            msync(map.at(thread * page()), page(), libc::MS_SYNC).unwrap();
            assert_eq!(file.stored(at, 4), round.to_ne_bytes());
        }
    };
    race(work, |_| map.sync());
}

#[test]
fn p26_mprotect_beside_stores_and_msync() {
    own_process!();
    let pages = 8 * THREADS;
    let file = TestFile::new(pages * page());
    let map = Map::shared(&file, pages * page());
    let work = |thread: usize| {
        for round in 0..400usize {
            let at = thread * 8 + round % 8;
            map.set(at * page() + 1, round as u8);
            map.protect(at * page(), page(), PROT_READ).unwrap();
            assert!(map.store(at * page() + 1, 0xff).is_err(), "a store that the program has forbidden");
            map.protect(at * page(), page(), RW).unwrap();
            map.set(at * page() + 2, round as u8);
        }
    };
    race(work, |_| map.sync());
    map.sync();
    for at in 0..pages {
        let last = (392 + at % 8) as u8;
        assert_eq!(file.stored(at * page() + 1, 2), [last, last], "page {at}");
    }
}

#[test]
fn p20_threads_map_and_unmap_one_file() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a file is mapped shared once at a time");
    }
    let file = TestFile::new(THREADS * 2 * page());
    let fixed = Map::shared(&file, THREADS * 2 * page());
    let work = |thread: usize| {
        for round in 0..300usize {
            let at = thread * 2 * page();
            let addr = mmap(0, 2 * page(), RW, MAP_SHARED, file.fd(), at as i64).unwrap();
            if round > 0 {
                assert_eq!(get(addr), (round - 1) as u8, "what the map before stored");
            }
            set(addr, round as u8);
            set(addr + page() + thread, round as u8);
            assert_eq!(get(fixed.at(at)), round as u8);
            munmap(addr, 2 * page()).unwrap();
        }
    };
    race(work, |_| fixed.sync());
    fixed.unmap();
    for thread in 0..THREADS {
        assert_eq!(file.stored_byte(thread * 2 * page()), 299u32 as u8);
        assert_eq!(file.stored_byte(thread * 2 * page() + page() + thread), 299u32 as u8);
    }
}

#[cfg(unix)] // `MAP_FIXED` over memory that is in use
#[test]
fn p09_stores_beside_the_call_that_maps_their_page_are_kept() {
    own_process!();
    let pages = 64;
    let file = TestFile::with(&vec![0; pages * page()]);
    let place = Map::anonymous(pages * page(), RW);
    let (now, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let storing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                place.set(now.load(Ordering::Acquire) * page(), 7);
            }
        });
        for at in 0..pages {
            now.store(at, Ordering::Release);
            while place.get(at * page()) != 7 {
                std::hint::spin_loop();
            }
            mmap(place.at(at * page()), page(), RW, MAP_SHARED | MAP_FIXED, file.fd(), (at * page()) as i64)
                .unwrap();
        }
        done.store(true, Ordering::Relaxed);
        storing.join().expect("the thread that stores");
    });
    let shown: Vec<u8> = (0..pages).map(|at| place.get(at * page())).collect();
    place.unmap();
    let stored: Vec<u8> = (0..pages).map(|at| file.stored_byte(at * page())).collect();
    assert_eq!(stored, shown);
}

#[cfg(unix)] // fork
#[test]
fn p30_forks_beside_stores() {
    own_process!();
    let file = TestFile::new((THREADS + 1) * page());
    let map = Map::shared(&file, (THREADS + 1) * page());
    let work = |thread: usize| {
        for round in 0..2000u32 {
            map.put(thread * page(), &round.to_ne_bytes());
        }
    };
    race(work, |round| {
        fork(|| {
            map.set(THREADS * page() + round % page(), 0x77);
            true
        })
        .assert_good();
        assert_eq!(map.get(THREADS * page() + round % page()), 0x77);
    });
    map.unmap();
    for thread in 0..THREADS {
        assert_eq!(file.stored(thread * page(), 4), 1999u32.to_ne_bytes(), "thread {thread}");
    }
    assert_eq!(file.stored_byte(THREADS * page()), 0x77);
}
