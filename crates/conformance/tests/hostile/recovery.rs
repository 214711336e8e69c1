//! L9: `mapback recover`, where nobody kept watch over processes that were killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mapback_conformance::actor::{Ask, End};
use mapback_conformance::{Scene, TestFile, page, scene_under_mapback};

use crate::{recover, try_map, visit};

const PAGES: usize = 6;

/// A file of `PAGES` pages of this byte.
pub fn file_of(scene: &Scene, fill: u8) -> TestFile {
    scene.file_with(&vec![fill; PAGES * page()])
}

/// A program stores `byte` to the pages 1 and 4 of a file and is killed with its keeper. What the file would hold.
pub fn leave(scene: &Scene, file: &TestFile, byte: u8) -> Vec<u8> {
    let actor = scene.actor();
    let addr = try_map(&actor, file).expect("a map");
    let mut left = file.stored_all();
    for at in [page() + 5, 4 * page()] {
        actor.call(&Ask::Store { addr: addr + at, bytes: vec![byte; 100] });
        left[at..at + 100].fill(byte);
    }
    actor.kill_with_keeper();
    assert!(file.stored_all() != left, "somebody wrote it back already");
    left
}

/// Where [`outsider`] writes: in a page to which no killed program has stored.
pub const OTHERS: usize = 2 * 4096 + 100;

/// Somebody who knows nothing of mapback writes to the file.
pub fn outsider(file: &TestFile) -> Vec<u8> {
    let written = mapback_conformance::calls::kernel::pwrite(file.fd(), b"by others", OTHERS as i64);
    assert_eq!(written, Ok(9));
    file.stored_all()
}

/// How many lines of `recover --list` speak of a file in these words.
#[track_caller]
pub fn listed(scene: &Scene, file: &TestFile, standing: &str) -> usize {
    let (status, told) = recover(scene, ["--list"]);
    assert_eq!(status, Some(0), "{told}");
    let path = file.path().to_str().expect("a path in UTF-8");
    told.lines().filter(|line| line.contains(path) && line.contains(standing)).count()
}

#[track_caller]
pub fn assert_nothing_left(scene: &Scene) {
    assert_eq!(recover(scene, ["--list"]), (Some(0), "no images\n".to_owned()));
    assert_eq!(scene.image_files(), Vec::<String>::new());
}

#[test]
fn l09_recover_lists_and_writes_back_the_files_that_it_is_told() {
    let scene = scene_under_mapback!();
    let [one, two] = [1, 2].map(|fill| file_of(&scene, fill));
    let before = [one.stored_all(), two.stored_all()];
    let left = [leave(&scene, &one, 11), leave(&scene, &two, 22)];
    for _ in 0..2 {
        assert_eq!([&one, &two].map(|file| listed(&scene, file, "left behind")), [1, 1]);
        assert!([one.stored_all(), two.stored_all()] == before, "--list has changed something");
    }
    let (status, told) = recover(&scene, [one.path()]);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("written back") && told.lines().count() == 1, "{told}");
    assert!([one.stored_all(), two.stored_all()] == [&left[0], &before[1]].map(Clone::clone));
    assert_eq!([&one, &two].map(|file| listed(&scene, file, "left behind")), [0, 1]);
    assert_eq!(recover(&scene, ["--all"]).0, Some(0));
    assert!([one.stored_all(), two.stored_all()] == left);
    assert_nothing_left(&scene);
}

#[test]
fn l09_discard_drops_what_is_left_of_the_files_that_it_is_told() {
    let scene = scene_under_mapback!();
    let [one, two] = [1, 2].map(|fill| file_of(&scene, fill));
    let before = one.stored_all();
    leave(&scene, &one, 11);
    let left = leave(&scene, &two, 22);
    assert_eq!(recover(&scene, ["--discard".as_ref(), one.path().as_os_str()]).0, Some(0));
    assert_eq!([&one, &two].map(|file| listed(&scene, file, "left behind")), [0, 1]);
    assert_eq!(visit(&scene, scene.actor(), &one), Ok(()));
    assert_eq!(recover(&scene, ["--all"]).0, Some(0));
    assert!(two.stored_all() == left, "the other file");
    let mut expected = before;
    expected[PAGES * page() / 2] ^= 0x55; // as `visit` does
    assert!(one.stored_all() == expected, "what was dropped is in the file");
    assert_nothing_left(&scene);
}

#[test]
fn l09_what_others_changed_since_is_overwritten_by_force_alone() {
    for with_force in [true, false] {
        let scene = scene_under_mapback!();
        let file = file_of(&scene, 1);
        let left = leave(&scene, &file, 11);
        let theirs = outsider(&file);
        for words in [vec!["--all".as_ref()], vec![file.path().as_os_str()], vec!["--all".as_ref()]] {
            let (status, told) = recover(&scene, &words);
            assert_eq!(status, Some(1), "{words:?}: {told}");
            assert!(told.contains("conflict") && told.contains("--force"), "{words:?}: {told}");
            assert!(file.stored_all() == theirs, "{words:?}: overwritten unasked");
            assert_eq!(listed(&scene, &file, "conflict"), 1, "{words:?}");
        }
        assert!(scene.said().contains("changed by others"), "no word of it: {}", scene.said());
        let word = if with_force { "--force" } else { "--discard" };
        assert_eq!(recover(&scene, [word.as_ref(), file.path().as_os_str()]).0, Some(0), "{word}");
        assert!(file.stored_all() == if with_force { left } else { theirs }, "{word}");
        assert_nothing_left(&scene);
    }
}

#[test]
fn l09_a_conflict_is_set_aside_for_who_maps_the_file_next() {
    for with_force in [true, false] {
        let scene = scene_under_mapback!();
        let file = file_of(&scene, 1);
        let left = leave(&scene, &file, 11);
        outsider(&file);
        // Each looks at what the file holds, stores, and is served as if nothing had been.
        assert_eq!(visit(&scene, scene.actor(), &file), Ok(()));
        assert!(scene.said().contains("are kept in"), "no word of it: {}", scene.said());
        assert_eq!(visit(&scene, scene.actor(), &file), Ok(()));
        let now = file.stored_all();
        assert_eq!(listed(&scene, &file, "conflict"), 1);
        assert_eq!(scene.image_files().iter().filter(|name| name.contains("~1.")).count(), 2);
        let word = if with_force { "--force" } else { "--discard" };
        assert_eq!(recover(&scene, [word.as_ref(), file.path().as_os_str()]).0, Some(0), "{word}");
        assert!(file.stored_all() == if with_force { left } else { now }, "{word}");
        assert_nothing_left(&scene);
    }
}

#[test]
fn l09_each_conflict_of_a_file_is_kept() {
    let scene = scene_under_mapback!();
    let file = file_of(&scene, 1);
    for nth in 1..4usize {
        leave(&scene, &file, 10 + nth as u8);
        outsider(&file);
        // In turn by who maps it and by who recovers.
        match nth % 2 {
            0 => assert_eq!(visit(&scene, scene.actor(), &file), Ok(())),
            _ => assert_eq!(recover(&scene, ["--all"]).0, Some(1)),
        }
        assert_eq!(listed(&scene, &file, "conflict"), nth);
        let kept: Vec<Vec<u8>> = images(&scene).map(|(_, content)| content).collect();
        for byte in 11..=10 + nth as u8 {
            assert!(
                kept.iter().any(|image| image[4 * page()] == byte),
                "{byte} is lost after {nth} conflicts"
            );
        }
    }
    assert_eq!(recover(&scene, ["--discard", "--all"]).0, Some(0));
    assert_nothing_left(&scene);
}

/// The memories that are in the directory of images.
pub fn images(scene: &Scene) -> impl Iterator<Item = (String, Vec<u8>)> {
    let names = scene.image_files().into_iter().filter(|name| name.ends_with(".img"));
    names.map(|name| {
        let content = fs::read(scene.images().join(&name)).expect("an image");
        (name, content)
    })
}

#[test]
fn l09_force_keeps_what_is_in_one_of_the_two_alone() {
    for (len, what) in [(PAGES * page() + 77, "longer"), (2 * page() + 9, "shorter"), (0, "empty")] {
        let scene = scene_under_mapback!();
        let file = file_of(&scene, 1);
        let mut left = leave(&scene, &file, 11);
        file.file().set_len(len as u64).expect("truncating");
        if len > left.len() {
            let behind = left.len() as i64;
            assert_eq!(mapback_conformance::calls::kernel::pwrite(file.fd(), &[9; 77], behind), Ok(77));
            left.extend([9; 77]);
        }
        let theirs = file.stored_all();
        assert_eq!(recover(&scene, ["--all"]).0, Some(1), "{what}");
        assert!(file.stored_all() == theirs, "{what}: overwritten unasked");
        assert_eq!(listed(&scene, &file, "conflict"), 1, "{what}");
        assert_eq!(recover(&scene, ["--force", "--all"]).0, Some(0), "{what}");
        assert!(file.stored_all() == left, "{what}: something is lost");
        assert_nothing_left(&scene);
    }
}

#[test]
fn l09_what_belongs_to_a_file_that_was_moved_is_kept() {
    let scene = scene_under_mapback!();
    let file = file_of(&scene, 1);
    let left = leave(&scene, &file, 11);
    let elsewhere = scene.dir().join("elsewhere");
    fs::rename(file.path(), &elsewhere).expect("rename");
    // Another file has its name for a while.
    for named in [false, true] {
        if named {
            fs::write(file.path(), vec![3; PAGES * page()]).expect("another file");
        }
        let (status, told) = recover(&scene, ["--all"]);
        assert_eq!(status, Some(1), "{told}");
        assert!(told.contains("was moved"), "{told}");
        assert_eq!(recover(&scene, ["--force", "--all"]).0, Some(1));
        assert!(!named || fs::read(file.path()).unwrap() == vec![3; PAGES * page()], "the other was written");
    }
    fs::rename(&elsewhere, file.path()).expect("rename");
    assert_eq!(recover(&scene, ["--all"]).0, Some(0));
    assert!(file.stored_all() == left);
    assert_nothing_left(&scene);
}

#[test]
fn l09_a_file_that_may_not_be_written_keeps_what_is_left_for_later() {
    let scene = scene_under_mapback!();
    let program = fs::read("/bin/sleep").expect("a program");
    assert!(program.len() > 4 * page() + 100);
    let file = scene.file_with(&program);
    let left = leave(&scene, &file, 11);
    // What is executed may not be written, whoever asks.
    fs::set_permissions(file.path(), PermissionsExt::from_mode(0o700)).expect("chmod");
    let copy = scene.dir().join("sleep");
    fs::hard_link(file.path(), &copy).expect("a link");
    let path = file.path().to_owned();
    drop(file);
    let mut running = std::process::Command::new(copy).arg("1000").spawn().expect("sleep");
    let (status, told) = recover(&scene, ["--all"]);
    running.kill().and_then(|()| running.wait()).expect("kill");
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("failed") && told.contains("busy"), "{told}");
    assert!(fs::read(&path).unwrap() == program, "written all the same");
    assert_eq!(recover(&scene, ["--all"]).0, Some(0));
    assert!(fs::read(&path).unwrap() == left);
    assert_nothing_left(&scene);
}

#[test]
fn l09_recover_does_nothing_to_what_is_in_use() {
    let scene = scene_under_mapback!();
    let file = file_of(&scene, 1);
    let actor = scene.actor();
    let addr = try_map(&actor, &file).expect("a map");
    actor.call(&Ask::Store { addr, bytes: vec![5; 10] });
    for words in [["--all", "--all"], ["--discard", "--all"], ["--force", "--all"]] {
        let mut words = words.to_vec();
        words.dedup();
        let (status, told) = recover(&scene, &words);
        assert_eq!(status, Some(0), "{words:?}: {told}");
        assert_eq!(listed(&scene, &file, "in use"), 1, "{words:?}");
        actor.call(&Ask::Store { addr: addr + page(), bytes: vec![6; 10] });
    }
    assert_eq!(actor.end(End::Exit).code(), Some(7));
    assert_eq!((file.stored_byte(9), file.stored_byte(page() + 9)), (5, 6));
    assert_nothing_left(&scene);
}
