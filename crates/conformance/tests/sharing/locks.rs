//! L10: locks that a program holds on a file are not dropped by what happens to maps of it, in whatever process.

use mapback_conformance::actor::{Actor, Ask, End, ForkBy, LockBy, ReadBy};
use mapback_conformance::locks::{holder, is_flocked};
use mapback_conformance::{Scene, TestFile, page, scene};

fn lock(actor: &Actor<'_>, by: LockBy, fd: i32, start: i64, len: i64) {
    actor.call(&Ask::Lock { by, fd, start, len });
}

/// Asserts that `actor` holds byte `at` for all others.
#[track_caller]
fn assert_held(file: &TestFile, at: i64, actor: &Actor<'_>, when: &str) {
    assert_eq!(holder(file, at), Some(actor.pid()), "byte {at}, {when}");
}

/// An actor with a descriptor of the file and a lock on byte `at`.
fn locker<'s>(scene: &'s Scene, file: &TestFile, at: i64) -> (Actor<'s>, i32) {
    let actor = scene.actor();
    let fd = actor.open(file, libc::O_RDWR);
    lock(&actor, LockBy::Fcntl, fd, at, 1);
    assert_held(file, at, &actor, "at first");
    (actor, fd)
}

#[test]
fn l10_record_locks_are_held_across_mmap_msync_and_munmap() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (actor, fd) = locker(&scene, &file, 5);
    for round in 1..4 {
        let map = actor.map_fd(&file, fd, 2 * page());
        assert_held(&file, 5, &actor, "after mmap");
        map.set(page(), round);
        map.sync();
        assert_held(&file, 5, &actor, "after msync");
        let second = actor.map_fd(&file, fd, page());
        second.unmap();
        assert_held(&file, 5, &actor, "after the munmap of one of two");
        map.unmap();
        assert_held(&file, 5, &actor, "after munmap");
        assert_eq!(file.stored_byte(page()), round);
    }
    assert_eq!(holder(&file, 6), None);
    actor.call(&Ask::Close { fd });
    assert_eq!(holder(&file, 5), None, "the program's own close does end them");
}

#[test]
fn l10_record_locks_end_with_the_programs_close_though_a_map_is_left() {
    let scene = scene!();
    let file = scene.file(page());
    let (actor, fd) = locker(&scene, &file, 0);
    let map = actor.map_fd(&file, fd, page());
    map.set(0, 1);
    actor.call(&Ask::Close { fd });
    assert_eq!(holder(&file, 0), None);
    map.sync();
    let fd = actor.open(&file, libc::O_RDWR);
    lock(&actor, LockBy::Fcntl, fd, 7, 1);
    map.set(0, 2);
    map.unmap();
    assert_held(&file, 7, &actor, "taken while only a map was left");
    assert_eq!(file.stored_byte(0), 2);
}

#[test]
fn l10_locks_of_two_processes_that_share_an_image() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let ((one, fd_one), (two, fd_two)) = (locker(&scene, &file, 10), locker(&scene, &file, 20));
    let both = |when| {
        assert_held(&file, 10, &one, when);
        assert_held(&file, 20, &two, when);
    };
    let (a, b) = (one.map_fd(&file, fd_one, 2 * page()), two.map_fd(&file, fd_two, 2 * page()));
    both("after both mapped");
    a.set(0, 1);
    b.set(page(), 2);
    a.sync();
    b.sync();
    both("after both flushed");
    let third = scene.actor();
    let c = third.map(&file, 2 * page());
    c.set(1, 3);
    both("after a third mapped");
    third.end(End::Exit);
    both("after the third ended");
    a.unmap();
    both("after one unmapped");
    b.unmap();
    both("after both unmapped");
    assert_eq!((file.stored(0, 2), file.stored_byte(page())), (vec![1, 3], 2));
}

#[test]
fn l10_locks_outlive_a_neighbours_kill_and_its_recovery() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (one, fd) = locker(&scene, &file, 3);
    let two = scene.actor();
    let (a, b) = (one.map_fd(&file, fd, 2 * page()), two.map(&file, 2 * page()));
    b.set(page(), 9);
    two.kill_with_keeper();
    let three = scene.actor();
    let c = three.map(&file, 2 * page());
    assert_eq!(c.get(page()), 9);
    c.sync();
    assert_held(&file, 3, &one, "after the kill");
    a.unmap();
    assert_held(&file, 3, &one, "after munmap");
    assert_eq!(file.stored_byte(page()), 9);
}

#[test]
fn l10_locks_after_fork_are_the_parents() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (parent, fd) = locker(&scene, &file, 4);
    let map = parent.map_fd(&file, fd, 2 * page());
    map.set(0, 1);
    for by in [ForkBy::Fork, ForkBy::Clone] {
        let child = parent.fork(by);
        let inherited = child.inherited(&map);
        inherited.set(page(), 2);
        inherited.sync();
        assert_held(&file, 4, &parent, "after the child's msync");
        inherited.unmap();
        assert_held(&file, 4, &parent, "after the child's munmap");
        lock(&child, LockBy::Fcntl, fd, 40, 1);
        assert_held(&file, 40, &child, "the child's own lock");
        let again = child.map_fd(&file, fd, page());
        again.unmap();
        assert_held(&file, 40, &child, "after its munmap");
        let pid = child.pid();
        child.end(End::UnderscoreExit);
        parent.reap(pid);
        assert_held(&file, 4, &parent, "after the child's end");
        assert_eq!(holder(&file, 40), None, "the child's own lock has ended with it");
    }
    map.unmap();
    assert_held(&file, 4, &parent, "after the parent's munmap");
}

#[test]
fn l10_reading_and_flushing_by_others_leaves_the_locks() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (one, fd) = locker(&scene, &file, 8);
    let map = one.map_fd(&file, fd, 2 * page());
    let two = scene.actor();
    let theirs = two.open(&file, libc::O_RDWR);
    lock(&two, LockBy::Fcntl, theirs, 9, 1);
    map.set(0, 1);
    // On a descriptor that is there already; one of their own would end their locks by its close.
    two.call(&Ask::Lock { by: LockBy::Fcntl, fd: theirs, start: 30, len: 1 });
    assert_eq!(one.call(&Ask::Sync { addr: map.at(0), len: page(), flags: libc::MS_ASYNC }), 0);
    let three = scene.actor();
    three.ask(&Ask::Read { by: ReadBy::Pread, path: file.path().to_owned(), off: 0, len: 10 });
    assert_held(&file, 8, &one, "after others read");
    assert_held(&file, 9, &two, "after others read");
    assert_held(&file, 30, &two, "after others read");
}

#[test]
fn l10_open_file_locks_and_flocks_are_held_and_end_with_their_descriptor() {
    let scene = scene!();
    let file = scene.file(page());
    let actor = scene.actor();
    let fd = actor.open(&file, libc::O_RDWR);
    lock(&actor, LockBy::OpenFile, fd, 6, 1);
    lock(&actor, LockBy::Flock, fd, 0, 0);
    for round in 1..3 {
        let map = actor.map_fd(&file, fd, page());
        map.set(0, round);
        map.sync();
        assert_eq!((holder(&file, 6), is_flocked(&file)), (Some(-1), true), "while mapped");
        map.unmap();
        assert_eq!((holder(&file, 6), is_flocked(&file)), (Some(-1), true), "after munmap");
    }
    actor.call(&Ask::Close { fd });
    assert_eq!((holder(&file, 6), is_flocked(&file)), (None, false));
}

#[test]
fn l10_open_file_locks_and_flocks_live_as_long_as_a_map_of_their_descriptor() {
    // A map of the kernel's holds the open file whose locks they are; a record lock ends with any close. mapback's map
    // holds a file of mapback's own, so that they end with the descriptor (L10 in docs/semantics.md).
    let scene = scene!();
    let file = scene.file(page());
    let actor = scene.actor();
    let fd = actor.open(&file, libc::O_RDWR);
    lock(&actor, LockBy::OpenFile, fd, 6, 1);
    lock(&actor, LockBy::Flock, fd, 0, 0);
    let map = actor.map_fd(&file, fd, page());
    actor.call(&Ask::Close { fd });
    let found = (holder(&file, 6), is_flocked(&file));
    let expected = if scene.under_mapback() { (None, false) } else { (Some(-1), true) };
    assert_eq!(found, expected, "the descriptor is closed, a map is left");
    map.set(0, 9);
    map.unmap();
    assert_eq!((holder(&file, 6), is_flocked(&file)), (None, false), "nothing is left");
    assert_eq!(file.stored_byte(0), 9);
}

#[test]
fn l10_a_lock_that_guards_stores_is_exclusive_between_processes() {
    // As SQLite does: whoever has the lock changes the memory.
    let scene = scene!();
    let file = scene.file_with(&vec![0; page()]);
    let actors = [scene.actor(), scene.actor()];
    let descriptors = [0, 1].map(|n| actors[n].open(&file, libc::O_RDWR));
    let maps = [0, 1].map(|n| actors[n].map_fd(&file, descriptors[n], page()));
    for round in 0..30u8 {
        let (mine, other) = (usize::from(round % 2), usize::from(1 - round % 2));
        lock(&actors[mine], LockBy::Fcntl, descriptors[mine], 0, 1);
        let refused =
            actors[other].ask(&Ask::Lock { by: LockBy::Fcntl, fd: descriptors[other], start: 0, len: 1 });
        assert_eq!(refused, mapback_conformance::actor::Answer::Errno(libc::EAGAIN), "round {round}");
        assert_eq!(maps[mine].get(0), round);
        maps[mine].set(0, round + 1);
        if round % 5 == 0 {
            maps[mine].sync();
        }
        actors[mine].call(&Ask::Unlock { fd: descriptors[mine], start: 0, len: 1 });
    }
}
