//! I7: what outsiders do to a file that programs under mapback have mapped.

use std::time::{Duration, Instant};

use mapback_conformance::actor::{Actor, Ask, End, ReadBy, TimesBy};
use mapback_conformance::calls::kernel;
use mapback_conformance::scene::LIMIT;
use mapback_conformance::{Scene, TestFile, page, scene_under_mapback};

use crate::recover;
use crate::recovery::{assert_nothing_left, images, listed};

const PAGES: usize = 6;

fn file_of(scene: &Scene) -> TestFile {
    scene.file_with(&vec![1; PAGES * page()])
}

/// A plain process writes, of which no call of mapback's knows.
#[track_caller]
fn outsider(file: &TestFile, off: usize, bytes: &[u8]) {
    assert_eq!(kernel::pwrite(file.fd(), bytes, off as i64), Ok(bytes.len()));
}

/// A conflict can be told from what a program's own changes are, and `whole` takes every page for one of those.
fn scene() -> Scene {
    let mut scene = scene_under_mapback!();
    if scene.tracked_as_whole() {
        scene.tracker = None; // P24 in docs/semantics.md
    }
    scene
}

#[test]
fn i7_a_change_by_others_before_a_kill_is_not_overwritten() {
    for with_keeper in [false, true] {
        let mut scene = scene();
        scene.flush_every = Some("0".into());
        let file = file_of(&scene);
        let actor = scene.actor();
        let map = actor.map(&file, PAGES * page());
        map.set(page(), 2);
        outsider(&file, 3 * page(), b"by others");
        map.set(2 * page(), 3);
        let (theirs, ours) = (file.stored_all(), map.bytes(0, PAGES * page()));
        if with_keeper {
            actor.kill();
        } else {
            actor.kill_with_keeper();
            assert_eq!(recover(&scene, ["--all"]).0, Some(1));
        }
        assert!(file.stored_all() == theirs, "keeper {with_keeper}: overwritten unasked");
        assert_eq!(listed(&scene, &file, "conflict"), 1, "keeper {with_keeper}");
        assert!(images(&scene).any(|(_, image)| image == ours), "keeper {with_keeper}: lost");
        assert_eq!(recover(&scene, ["--force", "--all"]).0, Some(0));
        assert!(file.stored_all() == ours);
        assert_nothing_left(&scene);
    }
}

/// What the program writes back itself makes image and file no more one than they were.
#[test]
fn i7_a_change_by_others_stays_known_over_the_programs_own_writing() {
    type Writing = fn(&Actor<'_>, &TestFile, usize);
    let ways: [(&str, Writing); 4] = [
        ("msync", |actor, _, addr| {
            actor.call(&Ask::Sync { addr, len: PAGES * page(), flags: libc::MS_SYNC });
        }),
        ("pwrite", |actor, file, _| {
            let (by, path) = (mapback_conformance::actor::WriteBy::Pwrite, file.path().to_owned());
            actor.call(&Ask::Write { by, path, off: 5 * page(), bytes: vec![9; 10] });
        }),
        ("fsync", |actor, file, _| {
            let (by, path) = (mapback_conformance::actor::FlushBy::Fsync, file.path().to_owned());
            actor.call(&Ask::Flush { by, path });
        }),
        ("futimens", |actor, file, _| {
            let path = file.path().to_owned();
            actor.call(&Ask::Times { by: TimesBy::Futimens, path, seconds: 1_000_000_000 });
        }),
    ];
    for (what, writing) in ways {
        let mut scene = scene();
        scene.flush_every = Some("0".into());
        let file = file_of(&scene);
        let actor = scene.actor();
        let map = actor.map(&file, PAGES * page());
        map.set(page(), 2);
        outsider(&file, 3 * page(), b"by others");
        writing(&actor, &file, map.at(0));
        map.set(2 * page(), 3);
        let theirs = file.stored_all();
        assert_eq!(theirs[3 * page()..][..9], *b"by others", "{what}");
        actor.kill_with_keeper();
        assert_eq!(recover(&scene, ["--all"]).0, Some(1), "{what}: no conflict");
        assert!(file.stored_all() == theirs, "{what}: overwritten unasked");
        assert!(images(&scene).any(|(_, image)| image[2 * page()] == 3), "{what}: lost");
        assert_eq!(recover(&scene, ["--discard", "--all"]).0, Some(0), "{what}");
    }
}

/// Once a program has seen what others wrote it is no conflict any more.
#[test]
fn i7_a_change_by_others_that_was_taken_over_is_no_conflict() {
    for by_map in [false, true] {
        let mut scene = scene();
        if by_map && scene.tracker.as_deref() == Some("compare") {
            scene.tracker = None; // P24 in docs/semantics.md: two processes share the image
        }
        scene.flush_every = Some("0".into());
        let file = file_of(&scene);
        let actor = scene.actor();
        let map = actor.map(&file, PAGES * page());
        map.set(page(), 2);
        outsider(&file, 3 * page(), b"by others");
        if by_map {
            let second = scene.actor();
            assert_eq!(second.map(&file, PAGES * page()).bytes(3 * page(), 9), b"by others");
            second.end(End::Exit);
        } else {
            let (by, path) = (ReadBy::Pread, file.path().to_owned());
            actor.ask(&Ask::Read { by, path, off: 3 * page(), len: 9 });
        }
        assert_eq!(map.bytes(3 * page(), 9), b"by others", "by a map: {by_map}");
        map.set(2 * page(), 3);
        let ours = map.bytes(0, PAGES * page());
        actor.kill_with_keeper();
        let (status, told) = recover(&scene, ["--all"]);
        assert_eq!(status, Some(0), "by a map: {by_map}: {told}");
        assert!(file.stored_all() == ours, "by a map: {by_map}");
        assert_nothing_left(&scene);
    }
}

/// Waits until the file has a byte.
#[track_caller]
fn wait_for(file: &TestFile, off: usize, byte: u8, scene: &Scene) {
    let start = Instant::now();
    while file.stored_byte(off) != byte {
        assert!(start.elapsed() < LIMIT, "nobody has written it back\n{}", scene.said());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn i7_a_keeper_writes_nothing_over_what_others_wrote_where_nobody_stored() {
    let mut scene = scene();
    scene.flush_every = Some("5ms".into());
    if scene.tracker.as_deref() == Some("compare") {
        scene.tracker = None; // L1 in docs/semantics.md: a keeper does not flush what compares
    }
    let file = file_of(&scene);
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, PAGES * page()), two.map(&file, PAGES * page()));
    // Written back, and clean again.
    b.set(4 * page(), 4);
    b.sync();
    for round in 10..60u8 {
        outsider(&file, 2 * page() + usize::from(round), &[round]);
        outsider(&file, 4 * page() + 1000, &[round; 3]);
        // A keeper has looked at the image when it has written this.
        [&a, &b][usize::from(round) % 2].set(page(), round);
        wait_for(&file, page(), round, &scene);
        assert_eq!(file.stored_byte(2 * page() + usize::from(round)), round, "round {round}");
        assert_eq!(
            file.stored(4 * page() + 1000, 3),
            [round; 3],
            "round {round}: a page that is clean again"
        );
    }
    one.end(End::Exit);
    two.end(End::Exit);
    assert_eq!(file.stored(2 * page() + 10, 50), (10..60).collect::<Vec<u8>>());
    assert_eq!((file.stored_byte(page()), file.stored_byte(4 * page())), (59, 4));
}

#[test]
fn l09_times_that_programs_set_are_no_change_by_others() {
    for by in TimesBy::ALL {
        for by_another in [false, true] {
            let scene = scene_under_mapback!();
            let file = scene.file_with(&vec![1; PAGES * page()]);
            let actor = scene.actor();
            let other = by_another.then(|| scene.actor());
            let map = actor.map(&file, PAGES * page());
            map.set(page(), 2);
            for seconds in [1_000_000_000, 1_100_000_000] {
                let ask = Ask::Times { by, path: file.path().to_owned(), seconds };
                other.as_ref().unwrap_or(&actor).call(&ask);
            }
            map.set(2 * page(), 3);
            let ours = map.bytes(0, PAGES * page());
            actor.kill_with_keeper();
            if let Some(other) = other {
                other.kill_with_keeper();
            }
            let (status, told) = recover(&scene, ["--all"]);
            assert_eq!(status, Some(0), "{by:?}, by another: {by_another}: {told}");
            assert!(file.stored_all() == ours, "{by:?}, by another: {by_another}");
            assert_nothing_left(&scene);
        }
    }
}
