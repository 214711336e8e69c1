//! L9: processes that share a file are killed at any moment, and whatever they had told of is in the file.
//!
//! `MAPBACK_KILL_ROUNDS` says how many rounds, `MAPBACK_KILL_SEED` which is the first, `MAPBACK_KILL_TRACKERS` which
//! trackers take turns.

mod attack;
mod check;
mod plan;
mod rescue;
mod tellings;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use mapback_conformance::scene;

use plan::Round;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        Err(_) => default,
    }
}

/// Two rounds at a time, as long as there are some.
#[test]
fn l09_whatever_was_told_is_in_the_file_after_a_kill() {
    let (first, rounds) = (number("MAPBACK_KILL_SEED", 1), number("MAPBACK_KILL_ROUNDS", 40));
    let next = AtomicU64::new(first);
    let stores: u64 = std::thread::scope(|scope| {
        let work = || {
            let mut stores = 0;
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + rounds {
                    return stores;
                }
                stores += catch_unwind(AssertUnwindSafe(|| play(seed))).unwrap_or_else(|panic| {
                    next.store(first + rounds, Ordering::Relaxed); // the other thread ends, too
                    eprintln!(
                        "that was MAPBACK_KILL_SEED={seed} MAPBACK_KILL_ROUNDS=1: {:?}",
                        Round::of(seed)
                    );
                    resume_unwind(panic)
                });
            }
        };
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).sum()
    });
    eprintln!("{rounds} rounds, {stores} stores told of");
    assert!(stores > rounds, "so few stores prove nothing");
}

/// One round; gives back the number of stores that were told of.
fn play(seed: u64) -> u64 {
    let round = Round::of(seed);
    let mut scene = scene!();
    if scene.under_mapback() {
        scene.tracker = round.tracker.clone();
        scene.flush_every = round.flush_every.map(str::to_owned);
    }
    let file = scene.file_with(&round.content());
    let outcome = attack::run(&scene, &round, file.path());
    if scene.under_mapback() && outcome.unkept {
        rescue::run(&scene, &round, file.path());
    }
    let left = if scene.under_mapback() { scene.wait_for_keepers() } else { Vec::new() };
    check::complaints(&scene);
    check::file(&round, &file.stored_all(), &outcome.told);
    assert_eq!(left, Vec::<String>::new(), "what nobody needs any more stays in memory");
    outcome.told.len() as u64
}
