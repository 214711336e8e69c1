//! P30: `fork`.

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ};
use mapback_conformance::calls::madvise;
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::process::{Exit, Gate, exec, fork};
use mapback_conformance::{Map, TestFile, own_process, page};

#[test]
fn p30_a_child_inherits_the_maps() {
    own_process!();
    let file = TestFile::new(3 * page());
    let (shared, private) = (Map::shared(&file, 3 * page()), Map::private(&file, 3 * page()));
    shared.set(page(), 0x11);
    private.set(2 * page(), 0x12);
    fork(|| {
        shared.get(0) == pattern(0)
            && shared.get(page()) == 0x11
            && private.get(0) == pattern(0)
            && private.get(2 * page()) == 0x12
    })
    .assert_good();
}

#[test]
fn p30_a_childs_stores_to_a_shared_map_are_seen_by_the_parent() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    map.set(0, 1); // one page that the parent has touched, others that it has not
    fork(|| {
        map.set(1, 2);
        map.set(2 * page(), 3);
        true
    })
    .assert_good();
    assert_eq!(map.get(1), 2);
    assert_eq!(map.get(2 * page()), 3);
}

#[test]
fn p30_a_childs_stores_reach_the_file_though_the_parent_stores_nothing() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    fork(|| {
        map.set(3 * page(), 0x21);
        true
    })
    .assert_good();
    map.unmap();
    assert_eq!(file.stored_byte(3 * page()), 0x21);
}

#[test]
fn p30_a_childs_msync_writes_and_so_does_the_parents() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    fork(|| {
        map.set(0, 0x31);
        map.sync();
        file.stored_byte(0) == 0x31
    })
    .assert_good();
    assert_eq!(file.stored_byte(0), 0x31);
    fork(|| {
        map.set(page(), 0x32);
        true
    })
    .assert_good();
    map.sync();
    assert_eq!(file.stored_byte(page()), 0x32, "msync in the parent after the child's store");
}

#[test]
fn p30_both_see_each_others_stores_at_once() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    let (to_child, to_parent) = (Gate::new(), Gate::new());
    let child = fork(|| {
        for round in 0..10u8 {
            to_child.pass();
            if map.get(0) != round {
                return false;
            }
            map.set(page(), round + 100);
            to_parent.open();
        }
        true
    });
    for round in 0..10u8 {
        map.set(0, round);
        to_child.open();
        to_parent.pass();
        assert_eq!(map.get(page()), round + 100);
    }
    child.assert_good();
}

#[test]
fn p30_private_maps_part_at_fork() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::private(&file, 3 * page());
    map.set(0, 1);
    let (parent_done, child_done) = (Gate::new(), Gate::new());
    let child = fork(|| {
        parent_done.pass();
        let apart = map.get(0) == 1 && map.get(page()) == pattern(page());
        map.set(0, 3);
        map.set(2 * page(), 3);
        child_done.open();
        apart
    });
    map.set(0, 2);
    map.set(page(), 2);
    parent_done.open();
    child_done.pass();
    assert_eq!(map.get(0), 2);
    assert_eq!(map.get(2 * page()), pattern(2 * page()));
    child.assert_good();
    assert_eq!(file.stored_byte(0), pattern(0));
}

#[test]
fn p30_a_childs_end_does_not_bring_old_bytes_back() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    map.set(0, 1);
    let go = Gate::new();
    let child = fork(|| {
        map.set(1, 1);
        go.pass();
        true
    });
    map.set(0, 2);
    map.sync();
    go.open();
    child.assert_good();
    assert_eq!(file.stored_byte(0), 2);
    assert_eq!(map.get(0), 2);
    map.unmap();
    assert_eq!(file.stored(0, 2), [2, 1]);
}

#[test]
fn p30_a_child_may_unmap_and_map_as_it_likes() {
    own_process!();
    let (file, other) = (TestFile::new(2 * page()), TestFile::new(page()));
    let map = Map::shared(&file, 2 * page());
    fork(|| {
        map.set(0, 0x41);
        mapback_conformance::calls::munmap(map.addr(), 2 * page()).unwrap();
        let own = Map::shared(&other, page());
        own.set(0, 0x42);
        own.unmap();
        true
    })
    .assert_good();
    assert_eq!(map.get(0), 0x41);
    map.set(page(), 0x44);
    map.unmap();
    assert_eq!(other.stored_byte(0), 0x42);
    assert_eq!(file.stored(0, 2), [0x41, pattern(1)]);
    assert_eq!(file.stored_byte(page()), 0x44);
}

#[test]
fn p30_a_child_that_execs_leaves_its_stores_behind() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    let child = fork(|| {
        map.set(5, 0x51);
        exec("true", &[]);
        false
    });
    assert_eq!(child.wait(), Exit::Code(0));
    assert_eq!(map.get(5), 0x51);
    map.unmap();
    assert_eq!(file.stored_byte(5), 0x51);
}

#[test]
fn p30_a_grandchilds_stores_reach_the_file() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    fork(|| {
        fork(|| {
            map.set(page(), 0x61);
            true
        })
        .assert_good();
        map.get(page()) == 0x61
    })
    .assert_good();
    assert_eq!(map.get(page()), 0x61);
    map.sync();
    assert_eq!(file.stored_byte(page()), 0x61);
}

#[test]
fn p30_protections_are_inherited() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(0, 1);
    map.protect(0, page(), PROT_READ).unwrap();
    fork(|| {
        let kept = map.store(0, 2).is_err() && map.store(page(), 2).is_ok();
        map.protect(0, page(), RW).unwrap();
        kept && map.store(0, 3).is_ok()
    })
    .assert_good();
    assert!(map.store(0, 4).is_err(), "the child's mprotect is the child's");
    assert_eq!(map.get(0), 3);
}

#[test]
fn l08_dontfork_keeps_a_map_from_the_child() {
    own_process!();
    let file = TestFile::new(2 * page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(2 * page(), RW, flags, file.fd(), 0).unwrap();
        madvise(map.addr(), page(), libc::MADV_DONTFORK).unwrap();
        fork(|| map.load(0).is_err() && map.load(page()).is_ok()).assert_good();
        madvise(map.addr(), page(), libc::MADV_DOFORK).unwrap();
        fork(|| map.load(0).is_ok()).assert_good();
        map.set(0, 1);
    }
    assert_eq!(file.stored_byte(page()), pattern(page()));
}
