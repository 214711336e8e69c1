//! Many threads at once on one map: writers, `msync` and `mprotect`. Nothing that was stored may be lost.
//!
//! `CROWD_SECONDS` (1) says for how long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libc::PROT_READ;
use mapback_conformance::calls::msync;
use mapback_conformance::map::RW;
use mapback_conformance::{Map, TestFile, own_process, page};

const WRITERS: usize = 8;
const PAGES: usize = 64;

#[test]
fn p22_eight_writers_two_syncers_and_one_who_protects() {
    own_process!();
    let seconds = std::env::var("CROWD_SECONDS").map_or(1, |n| n.parse().expect("CROWD_SECONDS is a number"));
    // The last page is the protector's, who stores to it himself in between.
    let file = TestFile::new((PAGES + 1) * page());
    let map = Map::shared(&file, (PAGES + 1) * page());
    let done = AtomicBool::new(false);
    let end = Instant::now() + Duration::from_secs(seconds);
    // Each writer has eight bytes of its own in every page: the number of its last round there.
    let write = |writer: usize| {
        let mut round = 0u64;
        while Instant::now() < end {
            for _ in 0..100 {
                round += 1;
                map.put(round as usize * 13 % PAGES * page() + writer * 8, &round.to_ne_bytes());
            }
        }
        round
    };
    let rounds = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    map.sync();
                }
            });
        }
        scope.spawn(|| {
            let own = PAGES * page();
            while !done.load(Ordering::Acquire) {
                map.protect(own, page(), RW).unwrap();
                map.set(own, map.get(own).wrapping_add(1));
                map.protect(own, page(), PROT_READ).unwrap();
                assert!(map.store(own, 0).is_err(), "a store that the program has forbidden");
            }
        });
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let rounds: Vec<u64> = writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
        done.store(true, Ordering::Release);
        rounds
    });
    msync(map.addr(), map.len(), libc::MS_SYNC).unwrap();
    for (writer, rounds) in rounds.iter().enumerate() {
        for at in 0..PAGES {
            let last =
                (1..=*rounds).rev().find(|round| *round as usize * 13 % PAGES == at).expect("many rounds");
            let there = last.to_ne_bytes();
            assert_eq!(map.bytes(at * page() + writer * 8, 8), there, "the map, page {at}, writer {writer}");
            assert_eq!(
                file.stored(at * page() + writer * 8, 8),
                there,
                "the file, page {at}, writer {writer}"
            );
        }
    }
    assert_eq!(file.stored_byte(PAGES * page()), map.get(PAGES * page()));
}
