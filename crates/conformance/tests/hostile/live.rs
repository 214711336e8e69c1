//! I4: control blocks that are spoilt while processes use them.

use mapback_conformance::actor::{Actor, Ask, End, ReadBy};
use mapback_conformance::{TestFile, page, scene_under_mapback};

use crate::flipped::number;
use crate::mutation::Mutation;
use crate::{image_of, try_map};

const PAGES: usize = 8;

#[test]
fn i4_a_control_block_that_is_spoilt_while_processes_use_it() {
    let (first, rounds) = (number("MAPBACK_SPOIL_SEED", 1), number("MAPBACK_SPOIL_ROUNDS", 60));
    for seed in first..first + rounds {
        let scene = scene_under_mapback!();
        let mut random = fastrand::Rng::with_seed(seed ^ 0xabcd);
        let [file, beside] = [1, 2].map(|fill| scene.file_with(&vec![fill; PAGES * page()]));
        let [control, _] = image_of(&scene, &file);
        let actors = [scene.actor(), scene.actor()];
        let maps = [&actors[0], &actors[1]].map(|actor| try_map(actor, &file).expect("a map"));
        let others = try_map(&actors[0], &beside).expect("a map");
        let mut done = Vec::new();
        for _ in 0..random.u8(1..5) {
            for _ in 0..4 {
                let nth = random.usize(0..2);
                do_something(&actors[nth], maps[nth], &file, &mut random);
            }
            let mutation = Mutation::of(&mut random, &control);
            mutation.apply(&control);
            done.push(mutation);
        }
        let what = format!("MAPBACK_SPOIL_SEED={seed}: {done:?}");
        eprintln!("{what}");
        for nth in [0, 1, 0, 1] {
            do_something(&actors[nth], maps[nth], &file, &mut random);
        }
        actors[0].call(&Ask::Store { addr: others, bytes: vec![22] });
        let third = scene.actor();
        if let Ok(addr) = try_map(&third, &file) {
            do_something(&third, addr, &file, &mut random);
        }
        for actor in actors.into_iter().chain([third]) {
            assert_eq!(actor.end(End::Exit).code(), Some(7), "{what}\n{}", scene.said());
        }
        assert_eq!(file.len(), PAGES * page(), "{what}: the file's size");
        assert_eq!(beside.stored(0, 2), [22, 2], "{what}: the file beside");
        assert_eq!(beside.len(), PAGES * page(), "{what}: the size of the file beside");
    }
}

/// One thing that a program does; what comes of it is its own affair, as long as the program lives.
fn do_something(actor: &Actor<'_>, addr: usize, file: &TestFile, random: &mut fastrand::Rng) {
    let off = random.usize(0..PAGES * page() - 8);
    let path = file.path().to_owned();
    match random.u8(0..6) {
        0 | 1 => actor.ask(&Ask::Store { addr: addr + off, bytes: vec![random.u8(..); 8] }),
        2 => actor.ask(&Ask::Sync { addr, len: PAGES * page(), flags: libc::MS_SYNC }),
        3 => actor.ask(&Ask::Read { by: ReadBy::Pread, path, off, len: 8 }),
        4 => {
            let by = mapback_conformance::actor::WriteBy::Pwrite;
            actor.ask(&Ask::Write { by, path, off, bytes: vec![5; 8] })
        }
        _ => {
            if let Ok(addr) = try_map(actor, file) {
                actor.ask(&Ask::Unmap { addr, len: PAGES * page() });
            }
            actor.ask(&Ask::Load { addr: addr + off, len: 8 })
        }
    };
}
