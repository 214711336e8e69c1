//! The stores of the crate keep the contract of stores.

use super::Fixture;
use mapback::store::{FileStore, JournalOptions, JournalStore, MemoryStore, Store};
use mapback_testkit::store::{CrashDisk, FaultyStore, check_store};
use std::sync::Arc;

#[test]
fn files_keep_the_contract() {
    let file = Fixture::new(&[1; 50_000]);
    check_store(&FileStore::read_write(&file.path).unwrap()).unwrap();
    let sparse = Fixture::new(b"");
    sparse.open().set_len(1 << 20).unwrap();
    check_store(&FileStore::read_write(&sparse.path).unwrap()).unwrap();
}

#[test]
fn memory_and_the_testkits_stores_keep_the_contract() {
    check_store(&MemoryStore::new(vec![1; 50_000])).unwrap();
    check_store(&FaultyStore::new(MemoryStore::new(vec![1; 50_000]))).unwrap();
    check_store(&*CrashDisk::new().store(vec![1; 50_000])).unwrap();
}

#[test]
fn journals_keep_the_contract() {
    for part in [100, 1 << 20] {
        let inner = Arc::new(MemoryStore::new(vec![1; 50_000]));
        let options = JournalOptions::default().limit(100_000).part(part);
        let store = JournalStore::open(inner, Arc::new(MemoryStore::new(Vec::new())), options).unwrap();
        check_store(&store).unwrap();
    }
}

#[test]
fn identities_tell_files_apart_and_links_not() {
    let (a, b) = (Fixture::new(b"a"), Fixture::new(b"b"));
    let link = a.path.with_file_name("link");
    std::fs::hard_link(&a.path, &link).unwrap();
    let key = |path: &std::path::Path| FileStore::read_only(path).unwrap().identity().unwrap().key;
    assert_eq!(key(&a.path), key(&link));
    assert_ne!(key(&a.path), key(&b.path));
}
