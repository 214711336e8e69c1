//! The contract of stores, as a test.

use super::Random;
use mapback::store::{Store, Write, read_full, write_full};
use std::io;

/// Checks that a store keeps the contract of [`Store`], as far as that can be seen without a crash. The content is
/// changed.
///
/// # Panics
/// With what is wrong.
///
/// # Errors
/// Those of the store: it must not fail.
///
/// # Examples
///
/// ```
/// use mapback::store::MemoryStore;
///
/// mapback_testkit::store::check_store(&MemoryStore::new(vec![0; 10_000]))?;
/// # std::io::Result::Ok(())
/// ```
pub fn check_store(store: &dyn Store) -> io::Result<()> {
    let identity = store.identity()?;
    assert_eq!(identity, store.identity()?, "the identity must not change");
    let len = store.stat()?.len;
    check_reading(store, len)?;
    check_writing(store, len)?;
    check_batches(store, len)?;
    check_resizing(store)?;
    assert_eq!(identity.key, store.identity()?.key, "the identity must outlast writes");
    Ok(())
}

fn all(store: &dyn Store) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; store.stat()?.len as usize];
    let n = read_full(store, &mut bytes, 0)?;
    assert_eq!(n, bytes.len(), "a read ended before the store did");
    Ok(bytes)
}

fn check_reading(store: &dyn Store, len: u64) -> io::Result<()> {
    let bytes = all(store)?;
    let mut more = [0xa5; 16];
    assert_eq!(store.read_at(&mut more, len)?, 0, "there is nothing to read at the end");
    assert_eq!(store.read_at(&mut more, len + 1000)?, 0, "nor past it");
    assert_eq!(more, [0xa5; 16], "and the buffer stays as it is");
    assert_eq!(store.read_at(&mut [], 0)?, 0);
    let mut at = 0;
    while let Some(data) = store.data(at..len) {
        assert!(at <= data.start && data.start < data.end && data.end <= len, "data at {data:?} after {at}");
        assert!(
            bytes[at as usize..data.start as usize].iter().all(|b| *b == 0),
            "what is no data reads zero"
        );
        at = data.end;
    }
    assert!(bytes[at as usize..].iter().all(|b| *b == 0), "what is no data reads zero");
    Ok(())
}

fn check_writing(store: &dyn Store, len: u64) -> io::Result<()> {
    let mut random = Random(1);
    let mut model = all(store)?;
    for _ in 0..50 {
        let from = random.below(len as usize + 1);
        let to = from + random.below(len as usize - from + 1).min(5000);
        let before = store.stat()?;
        let bytes: Vec<u8> = (from..to).map(|_| random.number() as u8).collect();
        write_full(store, &bytes, from as u64)?;
        model[from..to].copy_from_slice(&bytes);
        let after = store.stat()?;
        assert_eq!(after.len, len, "a write must not change the length");
        assert!(before.version <= after.version || after.version == 0, "versions must not go back");
    }
    assert!(all(store)? == model, "what was written is not what is read");
    store.sync()?;
    assert!(all(store)? == model, "a sync changed the content");
    Ok(())
}

fn check_batches(store: &dyn Store, len: u64) -> io::Result<()> {
    let half = (len / 2) as usize;
    let (a, b) = (vec![1; half / 2], vec![2; half / 2]);
    let mut batch = [Write::new(half as u64, &a), Write::new(0, &b), Write::new(3, &[])];
    store.write(&mut batch);
    for write in &batch {
        assert!(write.error.is_none() && write.missing().is_empty(), "{write:?}");
    }
    let now = all(store)?;
    assert!(
        now[half..half + half / 2] == a && now[..half / 2] == b,
        "a batch is written whole, in any order"
    );
    store.write(&mut []);
    store.sync()
}

fn check_resizing(store: &dyn Store) -> io::Result<()> {
    let before = all(store)?;
    let len = before.len() as u64;
    match store.resize(len + 777) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            assert_eq!(store.stat()?.len, len, "a resize that is refused changes nothing");
            return Ok(());
        }
        done => done?,
    }
    let now = all(store)?;
    assert!(now[..len as usize] == before && now[len as usize..] == [0; 777], "what is new reads zero");
    store.resize(len / 2)?;
    store.resize(len)?;
    let now = all(store)?;
    let (kept, new) = now.split_at(len as usize / 2);
    assert!(kept == &before[..kept.len()] && new.iter().all(|b| *b == 0), "what was cut off is gone");
    Ok(())
}
