//! Stores that fail: errors are values, and nothing is lost.

use super::{Fixture, each_tracker, trackers};
use mapback::store::{MemoryStore, Store};
use mapback::{Error, MmapOptions, OnConflict};
use mapback_testkit::store::{Call, FaultyStore};
use std::io::ErrorKind;
use std::sync::Arc;

fn faulty(len: usize) -> Arc<FaultyStore<MemoryStore>> {
    Arc::new(FaultyStore::new(MemoryStore::new(vec![0; len])))
}

#[test]
fn a_write_that_fails_names_its_bytes_and_is_done_by_the_next_flush() {
    for options in each_tracker() {
        let store = faulty(100_000);
        let mut map = options.map_mut(store.clone()).unwrap();
        map[5] = 1;
        map[50_000] = 2;
        store.fail(Call::Write, 0, ErrorKind::StorageFull);
        let error = map.flush().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        match Error::of(&error) {
            Some(Error::Write { range, .. }) => {
                assert!(range.end <= 100_000 && !range.is_empty(), "{range:?}")
            }
            other => panic!("{options:?}: {other:?}"),
        }
        assert!(error.to_string().contains("Free some space"), "{error}");
        map.flush().unwrap();
        let content = store.inner().to_vec();
        assert_eq!((content[5], content[50_000]), (1, 2), "{options:?}");
    }
}

#[test]
fn a_sync_that_fails_leaves_all_since_the_last_one_changed() {
    for options in each_tracker() {
        for conflict in [OnConflict::Error, OnConflict::Merge] {
            let store = faulty(20_000);
            let mut map = options.clone().on_conflict(conflict).map_mut(store.clone()).unwrap();
            map[0] = 1;
            map.flush_async().unwrap();
            map[10_000] = 2;
            store.fail(Call::Sync, 0, ErrorKind::Other);
            assert!(matches!(Error::of(&map.flush().unwrap_err()), Some(Error::Sync { .. })));
            // The system forgot what it had, as after a failed fsync it may.
            let mut lost = [mapback::store::Write::new(0, &[0; 20_000])];
            store.inner().write(&mut lost);
            map.reload().unwrap();
            assert_eq!((map[0], map[10_000]), (1, 2), "{options:?} {conflict:?}");
            map.flush().unwrap();
            let content = store.inner().to_vec();
            assert_eq!((content[0], content[10_000]), (1, 2), "{options:?} {conflict:?}");
        }
    }
}

#[test]
fn a_load_that_fails_makes_no_map() {
    let store = faulty(20_000);
    store.fail(Call::Read, 0, ErrorKind::Other);
    let error = MmapOptions::new().map(store.clone()).unwrap_err();
    assert!(
        matches!(Error::of(&error), Some(Error::Read { range, .. }) if *range == (0..20_000)),
        "{error:?}"
    );
    store.fail(Call::Stat, 0, ErrorKind::Other);
    assert!(MmapOptions::new().map(store.clone()).is_err());
    assert!(MmapOptions::new().map(store).is_ok());
}

#[test]
fn close_returns_what_drop_could_not() {
    for options in each_tracker() {
        let store = faulty(5000);
        let mut map = options.map_mut(store.clone()).unwrap();
        map[0] = 1;
        store.fail_always(Call::Write, ErrorKind::StorageFull);
        assert_eq!(map.close().unwrap_err().kind(), ErrorKind::StorageFull, "{options:?}");
    }
}

#[test]
fn drop_tells_tracing_what_is_lost() {
    use std::sync::Mutex;
    use tracing::span;

    struct Heard(Arc<Mutex<Vec<String>>>);
    struct Text<'t>(&'t mut String);
    impl tracing::field::Visit for Text<'_> {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            self.0.push_str(&format!("{}={value:?} ", field.name()));
        }
    }
    impl tracing::Subscriber for Heard {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() == tracing::Level::ERROR
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut text = String::new();
            event.record(&mut Text(&mut text));
            self.0.lock().unwrap().push(text);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    let heard = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::with_default(Heard(heard.clone()), || {
        let store = faulty(5000);
        let mut map = MmapOptions::new().map_mut(store.clone()).unwrap();
        map[0] = 1;
        store.fail_always(Call::Write, ErrorKind::StorageFull);
    });
    let heard = heard.lock().unwrap();
    assert!(
        heard.len() == 1 && heard[0].contains("cannot write bytes 0x") && heard[0].contains("lost"),
        "{heard:?}"
    );
}

#[test]
fn a_commit_that_fails_commits_nothing_and_may_be_tried_again() {
    for options in each_tracker() {
        let (store, journal) = (faulty(50_000), faulty(0));
        let mut map = options.clone().journal_in(journal.clone()).map_mut(store.clone()).unwrap();
        for call in [Call::Write, Call::Sync, Call::Resize] {
            let next = map[0] + 1;
            map.fill(next);
            journal.fail(call, 0, ErrorKind::StorageFull);
            let done = map.flush_atomic();
            journal.mend();
            if call != Call::Resize {
                assert_eq!(done.unwrap_err().kind(), ErrorKind::StorageFull, "{options:?}, {call:?}");
            }
            map.flush_atomic().unwrap();
        }
        let last = map[0];
        drop(map);
        assert!(store.inner().to_vec().iter().all(|b| *b == last), "{options:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_room_made_is_enough() {
    // A file as large as its quota: what cannot be written is told, and nothing is lost. The real full disk is a stage of
    // `cargo xtask test`.
    for kind in trackers() {
        let file = Fixture::new(&[0; 20_000]);
        let store = Arc::new(FaultyStore::new(mapback::store::FileStore::read_write(&file.path).unwrap()));
        let mut map = MmapOptions::new().tracker(kind).map_mut(store.clone()).unwrap();
        map.fill(1);
        store.fail_always(Call::Write, ErrorKind::StorageFull);
        for _ in 0..3 {
            assert_eq!(map.flush().unwrap_err().kind(), ErrorKind::StorageFull);
        }
        store.mend();
        map.flush().unwrap();
        assert!(file.content() == [1; 20_000], "{kind}");
    }
}
