//! P31, L9: however a process ends, what it stored is in the file once `mapback run` has returned.

use std::os::unix::process::ExitStatusExt;

use mapback_conformance::actor::{Actor, End};
use mapback_conformance::{page, scene};

/// How a process ends, and how that looks from outside: a status or a signal.
const ENDS: [(End, Result<i32, i32>); 10] = [
    (End::Return, Ok(0)),
    (End::Exit, Ok(7)),
    (End::UnderscoreExit, Ok(7)),
    (End::QuickExit, Ok(7)),
    (End::Exec, Ok(0)),
    (End::Abort, Err(libc::SIGABRT)),
    (End::Term, Err(libc::SIGTERM)),
    (End::Segv, Err(libc::SIGSEGV)),
    (End::Bus, Err(libc::SIGBUS)),
    (End::Kill, Err(libc::SIGKILL)),
];

#[test]
fn p31_each_end_of_a_program_leaves_its_stores_in_the_file() {
    let scene = scene!();
    for (how, looks) in ENDS {
        let file = scene.file(4 * page());
        let actor = scene.actor();
        let map = actor.map(&file, 4 * page());
        map.set(page(), 1);
        map.sync();
        map.put(page() - 1, &[2, 2]);
        map.set(4 * page() - 1, 3);
        let status = actor.end(how);
        assert_eq!(status.code().ok_or_else(|| status.signal().unwrap()), looks, "{how:?}: {status}");
        assert_eq!(
            (file.stored(page() - 1, 2), file.stored_byte(4 * page() - 1)),
            (vec![2, 2], 3),
            "{how:?}"
        );
    }
}

#[test]
fn p31_a_kill_from_outside() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let actor = scene.actor();
    let map = actor.map(&file, 2 * page());
    map.set(page(), 1);
    let status = actor.kill();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    assert_eq!(file.stored_byte(page()), 1);
}

/// A child made by `make` stores and ends in each way, while its parent and a stranger live on.
fn ends_of_a_child(make: impl for<'s> Fn(&Actor<'s>) -> Actor<'s>, inherits: bool) {
    let scene = scene!();
    let stranger = scene.actor();
    for (how, looks) in ENDS {
        let file = scene.file(3 * page());
        let parent = scene.actor();
        let (map, theirs) = (parent.map(&file, 3 * page()), stranger.map(&file, 3 * page()));
        map.set(0, 1);
        let child = make(&parent);
        let pid = child.pid();
        let own = if inherits { child.inherited(&map) } else { child.map(&file, 3 * page()) };
        own.set(page(), 2);
        own.set(0, 4);
        child.end(how);
        let status = parent.reap(pid);
        assert_eq!(status.code().ok_or_else(|| status.signal().unwrap()), looks, "{how:?}: {status}");
        assert_eq!((map.get(page()), theirs.get(page()), map.get(0)), (2, 2, 4), "{how:?}: in memory");
        map.set(2 * page(), 3);
        assert_eq!(parent.end(End::Exit).code(), Some(7), "{how:?}");
        assert_eq!([0, 1, 2].map(|at| file.stored_byte(at * page())), [4, 2, 3], "{how:?}: in the file");
        theirs.unmap();
        assert_eq!(
            [0, 1, 2].map(|at| file.stored_byte(at * page())),
            [4, 2, 3],
            "{how:?}: at the last unmap"
        );
    }
}

#[test]
fn p30_each_end_of_a_forked_child() {
    ends_of_a_child(|parent| parent.fork(mapback_conformance::actor::ForkBy::Fork), true);
}

#[test]
fn p30_each_end_of_a_child_made_by_clone() {
    ends_of_a_child(|parent| parent.fork(mapback_conformance::actor::ForkBy::Clone), true);
}

#[test]
fn p30_each_end_of_a_child_forked_by_number() {
    ends_of_a_child(|parent| parent.fork(mapback_conformance::actor::ForkBy::ForkByNumber), true);
}

#[test]
fn p30_each_end_of_a_child_cloned_by_number() {
    ends_of_a_child(|parent| parent.fork(mapback_conformance::actor::ForkBy::CloneByNumber), true);
}

#[test]
fn p31_each_end_of_a_program_that_was_spawned() {
    ends_of_a_child(|parent| parent.spawn(), false);
}

#[test]
fn l09_the_stores_of_a_killed_process_are_seen_by_one_that_maps_the_file_next() {
    let scene = scene!();
    for with_keeper in [false, true] {
        let file = scene.file(2 * page());
        let actor = scene.actor();
        let map = actor.map(&file, 2 * page());
        map.set(0, 1);
        map.sync();
        map.set(page(), 2);
        if with_keeper {
            actor.kill_with_keeper();
        } else {
            actor.kill();
        }
        let next = scene.actor();
        let map = next.map(&file, 2 * page());
        assert_eq!((map.get(0), map.get(page())), (1, 2), "with the keeper: {with_keeper}");
        map.set(1, 3);
        next.end(End::Exit);
        assert_eq!((file.stored(0, 2), file.stored_byte(page())), (vec![1, 3], 2));
    }
}

#[test]
fn l09_a_stranger_that_lives_on_flushes_what_a_killed_process_stored() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, 2 * page()), two.map(&file, 2 * page()));
    a.set(0, 1);
    one.kill_with_keeper();
    assert_eq!(b.get(0), 1);
    b.set(page(), 2);
    two.end(End::UnderscoreExit);
    assert_eq!((file.stored_byte(0), file.stored_byte(page())), (1, 2));
}

#[test]
fn p31_exec_into_a_program_that_maps_the_file_again() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let mut actor = scene.actor();
    for round in 1..5 {
        let map = actor.map(&file, 2 * page());
        if round > 1 {
            assert_eq!((map.get(0), map.get(page())), (round - 1, round - 1), "round {round}");
        }
        map.set(0, round);
        map.set(page(), round);
        actor = actor.exec();
        assert_eq!((file.stored_byte(0), file.stored_byte(page())), (round, round), "after exec {round}");
    }
    actor.end(End::Exit);
}
