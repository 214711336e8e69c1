//! Journals in memory: commits, checkpoints, and damage that no crash explains. No system call: Miri runs it.

use crate::store::{JournalOptions, JournalStore, MemoryStore, Store, write_full};
use std::sync::Arc;

const LASTING: u64 = 7;

/// A journal with some commits, and the file that it belongs to.
fn journal(commits: u8) -> (Vec<u8>, Vec<u8>) {
    let main = Arc::new(MemoryStore::with_lasting(vec![0; 20_000], LASTING));
    let medium = Arc::new(MemoryStore::new(Vec::new()));
    let store = JournalStore::open(main.clone(), medium.clone(), JournalOptions::default()).unwrap();
    for n in 1..=commits {
        write_full(&store, &[n; 5000], u64::from(n) * 1000).unwrap();
        store.sync().unwrap();
    }
    let left = medium.to_vec();
    std::mem::forget(store);
    (main.to_vec(), left)
}

fn open(main: &[u8], medium: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let main = Arc::new(MemoryStore::with_lasting(main.to_vec(), LASTING));
    let medium = Arc::new(MemoryStore::new(medium));
    drop(JournalStore::open(main.clone(), medium, JournalOptions::default())?);
    Ok(main.to_vec())
}

#[test]
fn damage_before_the_last_commit_is_never_taken_for_a_crash() {
    let (main, left) = journal(3);
    let whole = open(&main, left.clone()).unwrap();
    assert_eq!((whole[999], whole[1000], whole[2500], whole[7999]), (0, 1, 2, 3));
    // A commit here is 3 blocks: 72 + 5000 + 16 bytes are two, padded.
    for at in [8192 + 5, 8192 + 200, 8192 + 5060, 16_384 + 9, 16_384 + 300] {
        let mut bad = left.clone();
        bad[at] ^= 1;
        let error = open(&main, bad).unwrap_err();
        assert!(error.to_string().contains("damaged"), "byte {at}: {error}");
    }
}

#[test]
fn any_damaged_byte_gives_a_state_of_a_commit_or_a_refusal() {
    let (main, left) = journal(2);
    let states: Vec<_> = (0..=2).map(|n| open(&main, journal(n).1).unwrap()).collect();
    let mut refused = 0;
    for at in (0..left.len().min(40_000)).step_by(if cfg!(miri) { 3001 } else { 7 }) {
        let mut bad = left.clone();
        bad[at] ^= 0x10;
        match open(&main, bad) {
            Ok(found) => assert!(states.contains(&found), "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > if cfg!(miri) { 0 } else { 100 });
}

#[test]
fn a_journal_of_a_later_version_is_refused() {
    let (main, mut left) = journal(1);
    // The version, and the checksum over it.
    left[8] = 99;
    let error = open(&main, left).unwrap_err();
    assert!(error.to_string().contains("damaged"), "without a matching checksum it is mere damage: {error}");
}

#[test]
fn a_cut_journal_is_what_a_crash_leaves() {
    let (main, left) = journal(2);
    let states: Vec<_> = (0..=2).map(|n| open(&main, journal(n).1).unwrap()).collect();
    for len in [0, 100, 4096, 8192, 9000, 12_288, 16_384, 20_000] {
        let found = open(&main, left[..len].to_vec()).unwrap();
        assert!(states.contains(&found), "{len} bytes");
    }
}

#[test]
fn what_is_written_is_read_back_before_and_after_a_commit_and_a_checkpoint() {
    let main = Arc::new(MemoryStore::new(vec![0; 20_000]));
    let options = JournalOptions::default().part(100);
    let store = JournalStore::open(main.clone(), Arc::new(MemoryStore::new(Vec::new())), options).unwrap();
    let read = || {
        let mut bytes = vec![0; 700];
        assert_eq!(store.read_at(&mut bytes, 900).unwrap(), 700);
        bytes
    };
    write_full(&store, &[1; 250], 1000).unwrap();
    assert!(read()[100..350] == [1; 250] && read()[350] == 0);
    assert!(store.checkpoint().is_err(), "half of a commit must not get into the store");
    store.sync().unwrap();
    write_full(&store, &[2; 10], 1100).unwrap();
    assert_eq!(read()[199..211], [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
    store.abort();
    assert_eq!(read()[200], 1);
    assert_eq!(store.pending(), 250);
    store.checkpoint().unwrap();
    assert_eq!(store.pending(), 0);
    assert!(main.to_vec()[1000..1250] == [1; 250] && read()[100] == 1);
}

#[test]
fn who_may_only_read_sees_commits_and_changes_nothing() {
    let (main, left) = journal(2);
    let (main, medium) =
        (Arc::new(MemoryStore::with_lasting(main, LASTING)), Arc::new(MemoryStore::new(left.clone())));
    let options = JournalOptions::default().read_only(true);
    let store = JournalStore::open(main.clone(), medium.clone(), options).unwrap();
    let mut bytes = vec![0; 20_000];
    assert_eq!(store.read_at(&mut bytes, 0).unwrap(), 20_000);
    assert_eq!((bytes[1000], bytes[2500]), (1, 2));
    assert!(write_full(&store, b"x", 0).is_err());
    drop(store);
    assert!(medium.to_vec() == left && main.to_vec() == vec![0; 20_000]);
}
