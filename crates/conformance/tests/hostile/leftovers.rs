//! L9: whoever keeps what could not be written back dies over it, at any moment.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use mapback_conformance::scene::Run;
use mapback_conformance::{Scene, TestFile, page, scene_under_mapback};
use mapback_testkit::kill;

use crate::recovery::{OTHERS, assert_nothing_left, file_of, images, leave, listed, outsider};
use crate::{recover, visit};

/// A file, and the directory of images beside it, to begin from again and again.
struct Before<'s> {
    scene: &'s Scene,
    file: &'s TestFile,
    content: Vec<u8>,
    modified: SystemTime,
    images: Vec<(PathBuf, Vec<u8>)>,
}

impl<'s> Before<'s> {
    fn of(scene: &'s Scene, file: &'s TestFile) -> Before<'s> {
        let paths = scene.image_files().into_iter().map(|name| scene.images().join(name));
        let images = paths.map(|path| (path.clone(), fs::read(path).expect("an image"))).collect();
        let modified = file.file().metadata().and_then(|found| found.modified()).expect("the file's time");
        Before { scene, file, content: file.stored_all(), modified, images }
    }

    fn again(&self) {
        for name in self.scene.image_files() {
            fs::remove_file(self.scene.images().join(name)).expect("an image");
        }
        for (path, content) in &self.images {
            fs::write(path, content).expect("an image");
        }
        self.file.file().set_len(self.content.len() as u64).expect("the file's length");
        let written = mapback_conformance::calls::kernel::pwrite(self.file.fd(), &self.content, 0);
        assert_eq!(written, Ok(self.content.len()));
        self.file.file().set_modified(self.modified).expect("the file's time");
    }

    /// Kills `recover` with these words at each system call, and has `check` look at what that leaves.
    fn kill_everywhere(&self, words: &[&str], check: impl Fn(usize)) {
        let run = |nth| kill::run_any(&mut self.scene.recover(words), nth).expect("recover, traced");
        // Until it looks into the directory it is the same program as one that finds nothing there.
        let nothing = scene_under_mapback!();
        let idle = kill::run_any(&mut nothing.recover(words), usize::MAX).expect("recover, traced");
        self.again();
        let all = run(usize::MAX);
        assert!(all > idle + 50, "only {all} stops, {idle} of them with nothing to do: was it traced?");
        for nth in (idle * 3 / 4..all).rev() {
            self.again();
            run(nth);
            check(nth);
        }
        eprintln!("killed at {} to {all} of {all} stops", idle * 3 / 4);
    }
}

/// The directory of images after the last process of a file took its leave with a conflict, which is `~1`; and the name
/// without that.
fn with_conflict(scene: &Scene, file: &TestFile) -> (Vec<u8>, String) {
    let left = leave(scene, file, 11);
    outsider(file);
    assert_eq!(recover(scene, ["--all"]).0, Some(1));
    let names = scene.image_files();
    let [base] = names.iter().filter_map(|name| name.strip_suffix("~1.img")).collect::<Vec<_>>()[..] else {
        panic!("not set aside: {names:?}")
    };
    (left, base.to_owned())
}

#[test]
fn l09_a_memory_without_its_control_block_is_listed_and_kept() {
    let scene = scene_under_mapback!();
    let file = file_of(&scene, 1);
    let (left, base) = with_conflict(&scene, &file);
    let at = |name: &str| scene.images().join(format!("{base}{name}"));
    let before = Before::of(&scene, &file);
    // Between two renamings; without the second; and with an end that only somebody else can have made.
    for (from, to) in [(".ctl", Some(".ctl")), (".ctl", None), (".img", Some(".lost"))] {
        before.again();
        match to {
            Some(".ctl") => fs::rename(at("~1.ctl"), at(".ctl")).expect("rename"),
            Some(to) => {
                fs::rename(at(&format!("~1{from}")), at(&format!("~1{to}"))).expect("rename");
                fs::remove_file(at("~1.ctl")).expect("remove");
            }
            None => fs::remove_file(at("~1.ctl")).expect("remove"),
        }
        let memory = if to == Some(".lost") { at("~1.lost") } else { at("~1.img") };
        let name = memory.to_str().expect("a path in UTF-8");
        let shown = |when: &str| {
            let (_, told) = recover(&scene, ["--list"]);
            let line = told.lines().find(|line| line.contains(name));
            let line = line.unwrap_or_else(|| panic!("{when}: {name} is not listed: {told}"));
            assert!(line.contains("no control block"), "{when}: {line}");
            assert!(fs::read(&memory).expect("the memory") == left, "{when}: the memory has changed");
        };
        shown("at once");
        assert_eq!(recover(&scene, ["--all"]).0, Some(1), "it is not recovered");
        shown("after --all");
        assert_eq!(visit(&scene, scene.actor(), &file), Ok(()));
        shown("after a program has mapped the file");
        leave(&scene, &file, 22);
        outsider(&file);
        assert_eq!(visit(&scene, scene.actor(), &file), Ok(()));
        shown("after another conflict, set aside by who mapped the file");
        leave(&scene, &file, 33);
        outsider(&file);
        assert_eq!(recover(&scene, ["--all"]).0, Some(1));
        shown("after another conflict, set aside by recover");
        assert_eq!(listed(&scene, &file, "conflict"), 2);
        let words = ["--discard".as_ref(), memory.as_os_str()];
        assert_eq!(recover(&scene, words).0, Some(0));
        assert!(!memory.exists(), "not discarded");
        assert_eq!(listed(&scene, &file, "conflict"), 2, "discarded, too");
    }
    assert_eq!(recover(&scene, ["--discard", "--all"]).0, Some(0));
    assert_nothing_left(&scene);
}

#[test]
fn l09_a_memory_in_a_files_place_without_control_block_is_not_overwritten() {
    let scene = scene_under_mapback!();
    let file = file_of(&scene, 1);
    let left = leave(&scene, &file, 11);
    let control = scene.image_files().into_iter().find(|name| name.ends_with(".ctl")).expect("one");
    fs::remove_file(scene.images().join(control)).expect("remove");
    let (_, told) = recover(&scene, ["--list"]);
    assert!(told.contains("no control block"), "{told}");
    assert_eq!(visit(&scene, scene.actor(), &file), Ok(()));
    let kept = scene.image_files();
    assert!(kept.iter().any(|name| fs::read(scene.images().join(name)).unwrap() == left), "lost: {kept:?}");
    let (_, told) = recover(&scene, ["--list"]);
    assert!(told.contains("no control block"), "{told}");
    assert_eq!(recover(&scene, ["--discard", "--all"]).0, Some(0));
    assert_nothing_left(&scene);
}

#[test]
fn l09_recover_is_killed_at_each_system_call_of_its_writing_back() {
    let scene = scene_under_mapback!();
    let file = file_of(&scene, 1);
    let left = leave(&scene, &file, 11);
    Before::of(&scene, &file).kill_everywhere(&["--all"], |nth| {
        let (status, told) = recover(&scene, ["--all"]);
        assert_eq!(status, Some(0), "stop {nth}: {told}");
        assert!(file.stored_all() == left, "stop {nth}");
        assert_nothing_left(&scene);
    });
}

#[test]
fn l09_recover_is_killed_at_each_system_call_of_its_setting_aside() {
    let scene = scene_under_mapback!();
    let file = file_of(&scene, 1);
    let left = leave(&scene, &file, 11);
    let theirs = outsider(&file);
    Before::of(&scene, &file).kill_everywhere(&["--all"], |nth| {
        // Half of the time it is somebody who maps the file that comes next.
        match nth % 2 {
            0 => assert_eq!(recover(&scene, ["--all"]).0, Some(1), "stop {nth}"),
            _ => assert_eq!(visit(&scene, scene.actor(), &file), Ok(()), "stop {nth}"),
        }
        assert_eq!(listed(&scene, &file, "conflict"), 1, "stop {nth}: {:?}", scene.image_files());
        let kept: Vec<_> = images(&scene).filter(|(_, image)| *image == left).collect();
        assert_eq!(kept.len(), 1, "stop {nth}: its content");
        assert_eq!(file.stored(OTHERS, 9), theirs[OTHERS..][..9], "stop {nth}: others' change");
        let (status, told) = recover(&scene, ["--force", "--all"]);
        assert_eq!(status, Some(0), "stop {nth}: {told}");
        assert!(file.stored_all() == left, "stop {nth}");
        assert_nothing_left(&scene);
    });
}

#[test]
fn l09_recover_is_killed_at_each_system_call_of_its_overwriting() {
    let scene = scene_under_mapback!();
    let file = file_of(&scene, 1);
    let (left, _) = with_conflict(&scene, &file);
    file.file().set_len(2 * page() as u64 + 9).expect("truncating");
    Before::of(&scene, &file).kill_everywhere(&["--force", "--all"], |nth| {
        let (status, told) = recover(&scene, ["--force", "--all"]);
        assert_eq!(status, Some(0), "stop {nth}: {told}");
        assert!(file.stored_all() == left, "stop {nth}");
        assert_nothing_left(&scene);
    });
}

/// Programs that map the file find the conflict, and are killed while they set it aside.
#[test]
fn l09_programs_are_killed_while_they_set_a_conflict_aside() {
    let rounds = crate::flipped::number("MAPBACK_SPOIL_ROUNDS", 60);
    let scene = scene_under_mapback!();
    // So long that copying it takes a while.
    let file = scene.file_with(&vec![1; 8 << 20]);
    let left = leave(&scene, &file, 11);
    outsider(&file);
    let before = Before::of(&scene, &file);
    let plan = serde_json::to_string(&mapback_conformance::writer::Writer {
        path: file.path().to_owned(),
        cells: (file.len() / 8) as u64,
        owner: 0,
        owners: 1,
        shape: mapback_conformance::writer::Shape::Alone,
        processes: 1,
        seed: 1,
    });
    let plan = plan.expect("a plan is plain data");
    let mut random = fastrand::Rng::with_seed(rounds);
    for round in 0..rounds {
        before.again();
        for _ in 0..random.u8(1..4) {
            let run = Run::start(scene.actor_command(["write", &plan]));
            std::thread::sleep(std::time::Duration::from_micros(random.u64(0..30_000)));
            run.kill_all();
        }
        recover(&scene, ["--all"]);
        let kept: Vec<_> = images(&scene).filter(|(_, image)| *image == left).collect();
        assert!(!kept.is_empty(), "round {round}: lost");
        for (name, _) in kept {
            let control = scene.images().join(name.replace(".img", ".ctl"));
            assert!(control.exists(), "round {round}: {name} without a control block");
        }
        assert!(listed(&scene, &file, "conflict") > 0, "round {round}: {:?}", scene.image_files());
        let (_, told) = recover(&scene, ["--list"]);
        assert!(!told.contains("no control block"), "round {round}: what was begun is left: {told}");
    }
    assert_eq!(recover(&scene, ["--discard", "--all"]).0, Some(0));
    assert_nothing_left(&scene);
}
