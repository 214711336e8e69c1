//! Stores of a program's own that fail or panic at the worst of moments.

use super::each_tracker;
use mapback::store::{Identity, MemoryStore, Stat, Store, Write};
use mapback::{MmapMut, MmapOptions, RemapOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

const CALM: u8 = 0;
const FAILS: u8 = 1;
const PANICS: u8 = 2;
const SHORT: usize = 16 << 10;
const LONG: usize = 8 << 20;

/// Memory that is in a mood.
struct Rough {
    inner: MemoryStore,
    mood: AtomicU8,
    /// Whether it did.
    panicked: AtomicBool,
}

impl Rough {
    fn new() -> Arc<Rough> {
        Arc::new(Rough {
            inner: MemoryStore::new(vec![7; LONG]),
            mood: AtomicU8::new(CALM),
            panicked: AtomicBool::new(false),
        })
    }

    fn be(&self, mood: u8) {
        self.mood.store(mood, Ordering::Relaxed);
    }

    fn touch(&self) -> io::Result<()> {
        match self.mood.load(Ordering::Relaxed) {
            CALM => Ok(()),
            FAILS => Err(io::ErrorKind::Other.into()),
            _ => {
                self.panicked.store(true, Ordering::Relaxed);
                panic!("a store that panics")
            }
        }
    }
}

impl Store for Rough {
    fn identity(&self) -> io::Result<Identity> {
        self.inner.identity()
    }

    fn stat(&self) -> io::Result<Stat> {
        self.inner.stat()
    }

    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize> {
        self.touch()?;
        self.inner.read_at(buf, off)
    }

    fn write(&self, batch: &mut [Write<'_>]) {
        match self.touch() {
            Ok(()) => self.inner.write(batch),
            Err(error) => batch.iter_mut().for_each(|write| write.finish(Err(error.kind().into()))),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.inner.resize(len)
    }
}

/// A map of the store's beginning, which has to move when it grows.
fn wedged(options: &mut MmapOptions, store: &Arc<Rough>) -> (MmapMut, MmapMut) {
    let map = options.len(SHORT).map_mut(store.clone()).unwrap();
    (map, MmapMut::map_anon(SHORT).unwrap())
}

#[test]
fn what_could_not_be_loaded_is_no_part_of_the_map() {
    for mut options in each_tracker() {
        for mood in [PANICS, FAILS] {
            let store = Rough::new();
            let (mut map, _behind) = wedged(&mut options, &store);
            map[1] = 1;
            store.be(mood);
            let grown = catch_unwind(AssertUnwindSafe(|| {
                map.remap(LONG, RemapOptions::new().may_move(true)).is_ok()
            }));
            store.be(CALM);
            assert!(!grown.unwrap_or(false), "{options:?}");
            assert_eq!((map.len(), map[0], map[1]), (SHORT, 7, 1), "{options:?}");
            map[SHORT - 1] = 2;
            map.flush().unwrap();
            map.remap(LONG, RemapOptions::new().may_move(true)).unwrap();
            assert!(map[SHORT..].iter().all(|byte| *byte == 7), "{options:?}");
            map.close().unwrap();
            let mut content = vec![7; LONG];
            (content[1], content[SHORT - 1]) = (1, 2);
            assert!(store.inner.to_vec() == content, "{options:?}, {mood}");
        }
    }
}

#[test]
fn a_write_that_panics_is_tried_again() {
    for mut options in each_tracker() {
        let store = Rough::new();
        let (mut map, _behind) = wedged(&mut options, &store);
        map[1] = 1;
        store.be(PANICS);
        assert!(catch_unwind(AssertUnwindSafe(|| map.flush().is_ok())).is_err(), "{options:?}");
        assert!(catch_unwind(AssertUnwindSafe(|| map.remap(1, RemapOptions::new()).is_ok())).is_err());
        store.be(CALM);
        assert_eq!((map.len(), store.inner.to_vec()[1]), (SHORT, 7), "{options:?}");
        map[2] = 2;
        map.flush().unwrap();
        assert_eq!(store.inner.to_vec()[1..3], [1, 2], "{options:?}");
    }
}

#[test]
fn maps_are_flushed_every_so_often_after_a_store_that_panicked() {
    let store = Rough::new();
    let mut options = MmapOptions::new();
    let mut never = options.flush_every(Duration::MAX).map_mut(store.clone()).unwrap();
    let mut map = options.flush_every(Duration::from_millis(1)).map_mut(store.clone()).unwrap();
    store.be(PANICS);
    (never[0], map[1]) = (1, 1);
    let begin = Instant::now();
    while !store.panicked.load(Ordering::Relaxed) {
        assert!(begin.elapsed() < Duration::from_secs(60), "it was not flushed");
        std::thread::yield_now();
    }
    store.be(CALM);
    let mut stored = [0; 2];
    while stored[1] != 1 {
        assert!(begin.elapsed() < Duration::from_secs(60), "it was never flushed again");
        store.inner.read_at(&mut stored, 0).unwrap();
    }
    assert_eq!(stored[0], 7);
}
