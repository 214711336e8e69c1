//! Errors that no call can return: at munmap and at the process's end they are told on standard error.

use std::fs;

use mapback_conformance::process::Ended;
use mapback_conformance::{Map, page, split_under_mapback};

use crate::{Faulty, source};

/// Exactly one line names the file and the reason.
#[track_caller]
fn assert_told_once(ended: &Ended, file: &str) {
    let told: Vec<&str> = ended
        .output
        .lines()
        .filter(|line| line.contains(file) && line.contains("No space left on device"))
        .collect();
    assert_eq!(told.len(), 1, "lines that name {file} and the reason: {told:#?}\nin\n{}", ended.output);
}

#[test]
fn p25_munmap_succeeds_and_the_loss_is_told() {
    if let Some(ended) = split_under_mapback!() {
        ended.assert_passed();
        assert_told_once(&ended, "lost-at-munmap");
        return;
    }
    let faulty = Faulty::new();
    let file = faulty.file("lost-at-munmap", &vec![1; 4 * page()]);
    let map = Map::shared(&file, 4 * page());
    map.set(page(), 2);
    map.set(3 * page(), 2);
    faulty.fail("ENOSPC", 0);
    map.unmap();
    faulty.heal();
    assert_eq!(file.stored_byte(page()), 1);
    let again = Map::shared(&file, page());
    again.set(0, 3);
    again.unmap();
    assert_eq!(file.stored_byte(0), 3);
}

#[test]
fn p25_munmap_after_healing_writes_what_msync_could_not() {
    if let Some(ended) = split_under_mapback!() {
        return ended.assert_passed();
    }
    let faulty = Faulty::new();
    let file = faulty.file("file", &vec![1; 2 * page()]);
    let map = Map::shared(&file, 2 * page());
    map.set(page(), 2);
    faulty.fail("ENOSPC", 0);
    assert!(mapback_conformance::calls::msync(map.addr(), 2 * page(), libc::MS_SYNC).is_err());
    faulty.heal();
    map.unmap();
    assert_eq!(file.stored_byte(page()), 2);
}

/// Stores into a map of `name` on storage that is full, and ends by `end`; gives back how that went.
fn end_on_full_storage(split: Option<Ended>, name: &str, end: impl FnOnce()) -> Ended {
    let Some(ended) = split else {
        let faulty = Faulty::new();
        let file = faulty.file(name, &vec![1; 4 * page()]);
        let map = Map::shared(&file, 4 * page());
        map.set(0, 2);
        faulty.fail("ENOSPC", 0);
        end();
        panic!("the process goes on");
    };
    assert_told_once(&ended, name);
    let found = fs::read(source(ended.scratch()).join(name)).expect("the file on the mount's other side");
    assert!(found == vec![1; 4 * page()], "the file keeps its old content and size");
    ended
}

#[test]
fn p31_exit_on_full_storage_tells_the_loss_and_keeps_the_status() {
    let split = split_under_mapback!();
    // SAFETY: ends the process.
    let ended = end_on_full_storage(split, "lost-at-exit", || unsafe { libc::exit(7) });
    assert_eq!(ended.status.code(), Some(7));
}

#[test]
fn p31_underscore_exit_on_full_storage_tells_the_loss_and_keeps_the_status() {
    let split = split_under_mapback!();
    // SAFETY: ends the process.
    let ended = end_on_full_storage(split, "lost-at-_exit", || unsafe { libc::_exit(8) });
    assert_eq!(ended.status.code(), Some(8));
}

#[test]
fn p31_exec_on_full_storage_tells_the_loss() {
    let split = split_under_mapback!();
    let ended =
        end_on_full_storage(split, "lost-at-exec", || drop(mapback_conformance::process::exec("true", &[])));
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn p31_exit_writes_back_what_was_stored_on_the_mount() {
    let Some(ended) = split_under_mapback!() else {
        let faulty = Faulty::new();
        let file = faulty.file("kept", &vec![1; 4 * page()]);
        let map = Map::shared(&file, 4 * page());
        map.set(3 * page(), 2);
        // SAFETY: ends the process.
        unsafe { libc::exit(0) };
    };
    let found = fs::read(source(ended.scratch()).join("kept")).expect("the file on the mount's other side");
    assert_eq!((found[0], found[3 * page()], found.len()), (1, 2, 4 * page()), "{}", ended.output);
}
