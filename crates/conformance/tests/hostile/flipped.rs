//! L9: what killed processes left is spoilt before anybody looks at it again.
//!
//! `MAPBACK_SPOIL_ROUNDS` says how often, `MAPBACK_SPOIL_SEED` with which seed first.

use std::path::PathBuf;

use mapback_conformance::actor::{Ask, End};
use mapback_conformance::scene::Run;
use mapback_conformance::{Scene, TestFile, page, scene_under_mapback};

use crate::mutation::Mutation;
use crate::{image_of, try_map};

pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

const PAGES: usize = 8;

/// Kills a process with its keeper after it has stored `byte` to some pages.
fn leave(scene: &Scene, file: &TestFile, byte: u8) {
    let actor = scene.actor();
    let addr = try_map(&actor, file).expect("a map");
    for at in [1, 2, 5] {
        actor.call(&Ask::Store { addr: addr + at * page(), bytes: vec![byte; 100] });
    }
    actor.kill_with_keeper();
}

/// What `leave` makes of a file of `fill`.
fn left(fill: u8, byte: u8) -> Vec<u8> {
    let mut content = vec![fill; PAGES * page()];
    for at in [1, 2, 5] {
        content[at * page()..][..100].fill(byte);
    }
    content
}

#[test]
fn l09_a_control_block_that_was_spoilt_while_nobody_had_it() {
    let (first, rounds) = (number("MAPBACK_SPOIL_SEED", 1), number("MAPBACK_SPOIL_ROUNDS", 60));
    for seed in first..first + rounds {
        let scene = scene_under_mapback!();
        let mut random = fastrand::Rng::with_seed(seed);
        let [file, beside] = [1, 2].map(|fill| scene.file_with(&vec![fill; PAGES * page()]));
        let [control, content] = image_of(&scene, &file);
        leave(&scene, &file, 11);
        leave(&scene, &beside, 22);
        let spoilt: &PathBuf = if random.u8(0..4) == 0 { &content } else { &control };
        let mutation = Mutation::of(&mut random, spoilt);
        mutation.apply(spoilt);
        let what = format!("MAPBACK_SPOIL_SEED={seed}: {}: {mutation:?}", spoilt.display());
        for _ in 0..random.u8(1..4) {
            try_something(&scene, &file, random.u8(0..4), &what);
        }
        let status = Run::start(scene.recover(["--all"])).finish();
        assert!(
            matches!(status.code(), Some(0 | 1)),
            "{what}: recover ended with {status}\n{}",
            scene.said()
        );
        assert_eq!(file.len(), PAGES * page(), "{what}: the file's size");
        assert!(beside.stored_all() == left(2, 22), "{what}: the file beside has not what was stored to it");
        let found = file.stored_all();
        if spoilt == &control {
            let (old, new) = (vec![1; PAGES * page()], left(1, 11));
            for (at, page_found) in found.chunks(page()).enumerate() {
                let place = at * page()..(at + 1) * page();
                let known = page_found == &old[place.clone()] || page_found == &new[place];
                assert!(known, "{what}: page {at} holds what nobody stored there: {:?}", &page_found[..8]);
            }
        }
    }
}

/// Anything that a user may do next: it may fail, but neither crash nor hang.
fn try_something(scene: &Scene, file: &TestFile, choice: u8, what: &str) {
    let run = |words: &[&str]| {
        let status = Run::start(scene.recover(words)).finish();
        assert!(
            matches!(status.code(), Some(0 | 1)),
            "{what}: recover {words:?}: {status}\n{}",
            scene.said()
        );
    };
    match choice {
        0 => run(&["--all"]),
        1 => run(&["--list"]),
        2 => run(&[file.path().to_str().expect("a path in UTF-8")]),
        _ => {
            let actor = scene.actor();
            if let Ok(addr) = try_map(&actor, file) {
                actor.ask(&Ask::Load { addr, len: 1 });
            }
            assert_eq!(actor.end(End::Exit).code(), Some(7), "{what}\n{}", scene.said());
        }
    }
}

#[test]
fn l09_a_control_block_that_names_another_file_writes_nothing_there() {
    let scene = scene_under_mapback!();
    let [file, other] = [1, 2].map(|fill| scene.file_with(&vec![fill; PAGES * page()]));
    let [control, _] = image_of(&scene, &file);
    leave(&scene, &file, 11);
    let mut block = std::fs::read(&control).expect("the control block");
    let [name, others] = [&file, &other].map(|file| file.path().to_str().unwrap().as_bytes().to_vec());
    assert_eq!(name.len(), others.len());
    let at = block.windows(name.len()).position(|window| window == name);
    let at = at.expect("the control block holds the file's path, for the user to know");
    block[at..at + name.len()].copy_from_slice(&others);
    std::fs::write(&control, &block).expect("spoiling");
    for words in [["--all"], [other.path().to_str().unwrap()], [file.path().to_str().unwrap()]] {
        let status = Run::start(scene.recover(words)).finish();
        assert!(matches!(status.code(), Some(0 | 1)), "{words:?}: {status}\n{}", scene.said());
    }
    assert!(other.stored_all() == vec![2; PAGES * page()], "the other file was written to");
}
