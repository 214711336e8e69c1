//! P22, L1: two processes and four threads each store to one map and flush it, all at once.
//!
//! `MAPBACK_HAMMER_SECONDS` says for how long.

use mapback_conformance::actor::{Answer, Ask, End, Hammer};
use mapback_conformance::{Scene, cells, scene};

const LEN: usize = 64 << 20;
const THREADS: u64 = 4;

#[test]
fn l01_two_processes_of_four_threads_hammer_one_map() {
    let scene = scene!();
    let all = LEN as u64 / 8;
    let file = scene.file_with(&cells::fresh(all));
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, LEN), two.map(&file, LEN));
    for (actor, map, first) in [(&one, a, 0), (&two, b, THREADS)] {
        let (addr, of, millis) = (map.at(0), 2 * THREADS, seconds() * 1000);
        actor.begin(&Ask::Hammer(Hammer { addr, len: LEN, first, threads: THREADS, of, millis }));
    }
    let counts = [counts(&one, &scene), counts(&two, &scene)].concat();
    let expected = replay(&counts);
    let digest =
        |actor: &mapback_conformance::actor::Actor<'_>, addr| actor.call(&Ask::Digest { addr, len: LEN });
    let (seen_by_one, seen_by_two) = (digest(&one, a.at(0)), digest(&two, b.at(0)));
    assert_eq!(seen_by_one, seen_by_two, "the two see different memory");
    assert_eq!(seen_by_one, cells::digest(expected.iter().copied()), "stores are lost in memory");
    one.end(End::Exit);
    two.end(End::UnderscoreExit);
    let found = file.stored_all();
    assert_eq!(found.len(), LEN);
    let wrong =
        (0..).zip(cells::of_bytes(&found).zip(&expected)).find(|(_, (found, expected))| found != *expected);
    if let Some((cell, (found, expected))) = wrong {
        let [found, expected] = [found, *expected].map(|value| cells::order(cell, value));
        panic!("cell {cell} of the file holds store {found:?} instead of {expected:?}");
    }
    eprintln!("{} stores in {} s", counts.iter().sum::<u64>(), seconds());
}

fn seconds() -> u64 {
    std::env::var("MAPBACK_HAMMER_SECONDS").map_or(2, |text| text.parse().expect("a number of seconds"))
}

fn counts(actor: &mapback_conformance::actor::Actor<'_>, scene: &Scene) -> Vec<u64> {
    match actor.answer() {
        Answer::Counts(counts) => counts,
        other => panic!("{other:?}\n{}", scene.said()),
    }
}

/// What the cells have to hold after so many stores of each thread.
fn replay(counts: &[u64]) -> Vec<u64> {
    let all = LEN as u64 / 8;
    let mut expected: Vec<u64> = (0..all).map(|cell| cells::value(cell, 0)).collect();
    for (thread, stores) in (0..).zip(counts) {
        assert!(*stores > 0, "thread {thread} stored nothing");
        let mut course = cells::Course::new(thread, counts.len() as u64, all);
        for store in 1..=*stores {
            let cell = course.next();
            expected[cell as usize] = cells::value(cell, store);
        }
    }
    expected
}
