//! P30: processes that one has made, beside processes that have nothing to do with it.

use mapback_conformance::actor::{Ask, End, ForkBy};
use mapback_conformance::{page, scene};

#[test]
fn p30_a_child_and_a_stranger_share_with_the_parent() {
    let scene = scene!();
    for by in ForkBy::ALL {
        let file = scene.file(4 * page());
        let (parent, stranger) = (scene.actor(), scene.actor());
        let map = parent.map(&file, 4 * page());
        let theirs = stranger.map(&file, 4 * page());
        let child = parent.fork(by);
        let inherited = child.inherited(&map);
        inherited.set(0, 1);
        assert_eq!((map.get(0), theirs.get(0)), (1, 1), "{by:?}: the child's store");
        theirs.set(page(), 2);
        assert_eq!((map.get(page()), inherited.get(page())), (2, 2), "{by:?}: the stranger's");
        map.set(2 * page(), 3);
        assert_eq!((theirs.get(2 * page()), inherited.get(2 * page())), (3, 3), "{by:?}: the parent's");
        inherited.sync();
        assert_eq!(
            [0, 1, 2].map(|at| file.stored_byte(at * page())),
            [1, 2, 3],
            "{by:?}: flushed by the child"
        );
        inherited.set(3 * page(), 4);
        theirs.sync();
        assert_eq!(file.stored_byte(3 * page()), 4, "{by:?}: the child's store, flushed by the stranger");
    }
}

#[test]
fn p30_a_child_stores_after_its_parent_has_gone() {
    let scene = scene!();
    for by in ForkBy::ALL {
        let file = scene.file(2 * page());
        let parent = scene.actor();
        let map = parent.map(&file, 2 * page());
        map.set(0, 1);
        let child = parent.fork(by);
        let addr = map.at(page());
        // `mapback run` may stay for the child; natively the parent's end is all there is to wait for.
        parent.begin(&Ask::End(End::UnderscoreExit));
        let start = std::time::Instant::now();
        while file.stored_byte(0) != 1 {
            assert!(
                start.elapsed() < mapback_conformance::scene::LIMIT,
                "the parent's end wrote nothing back"
            );
            std::thread::yield_now();
        }
        child.call(&Ask::Store { addr, bytes: vec![2] });
        child.end(End::UnderscoreExit);
        parent.ended();
        assert_eq!((file.stored_byte(0), file.stored_byte(page())), (1, 2), "{by:?}");
    }
}

#[test]
fn p30_grandchildren_share_too() {
    let scene = scene!();
    let file = scene.file(3 * page());
    let parent = scene.actor();
    let map = parent.map(&file, 3 * page());
    let child = parent.fork(ForkBy::Fork);
    let grandchild = child.fork(ForkBy::Fork);
    grandchild.inherited(&map).set(0, 1);
    child.inherited(&map).set(page(), 2);
    assert_eq!((map.get(0), map.get(page())), (1, 2));
    let pid = grandchild.pid();
    grandchild.end(End::Kill);
    child.reap(pid);
    child.inherited(&map).set(2 * page(), 3);
    let pid = child.pid();
    child.end(End::Kill);
    parent.reap(pid);
    assert_eq!(parent.end(End::Kill).code(), None);
    assert_eq!([0, 1, 2].map(|at| file.stored_byte(at * page())), [1, 2, 3]);
}

#[test]
fn p30_a_store_in_a_vfork_child_and_the_parents_maps_afterwards() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (actor, stranger) = (scene.actor(), scene.actor());
    let (map, theirs) = (actor.map(&file, 2 * page()), stranger.map(&file, 2 * page()));
    for round in 1..4 {
        let pid = actor.call(&Ask::StoreInVfork { addr: map.at(page()), byte: round }) as i32;
        assert_eq!(actor.reap(pid).code(), Some(0));
        assert_eq!((map.get(page()), theirs.get(page())), (round, round));
        map.set(0, round);
        theirs.sync();
        assert_eq!((file.stored_byte(0), file.stored_byte(page())), (round, round), "round {round}");
    }
    let pid = actor.call(&Ask::StoreInVfork { addr: map.at(page()), byte: 99 }) as i32;
    actor.reap(pid);
    actor.kill();
    assert_eq!(file.stored_byte(page()), 99);
}

#[test]
fn p30_maps_made_after_the_fork_are_shared_as_well() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let parent = scene.actor();
    let child = parent.fork(ForkBy::Fork);
    let (a, b) = (parent.map(&file, 2 * page()), child.map(&file, 2 * page()));
    a.set(0, 1);
    b.set(page(), 2);
    assert_eq!((b.get(0), a.get(page())), (1, 2));
    a.sync();
    assert_eq!((file.stored_byte(0), file.stored_byte(page())), (1, 2));
}
