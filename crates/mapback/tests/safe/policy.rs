//! Flushes by the clock, and other options.

use super::{Fixture, each_tracker};
use mapback::MmapOptions;
use std::time::Duration;

/// Waits until something is so; how long that takes is nobody's business.
fn wait_for(what: impl Fn() -> bool) {
    while !what() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn maps_are_flushed_by_the_clock() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 20_000]);
        let mut options = options;
        let mut map = options.flush_every(Duration::from_millis(5)).map_mut(file.open()).unwrap();
        for n in 1..4 {
            map[10_000] = n;
            wait_for(|| file.content()[10_000] == n);
        }
        map[0] = 9;
        drop(map);
        assert_eq!(file.content()[0], 9, "{options:?}");
    }
}

#[test]
fn a_flush_by_the_clock_that_fails_is_tried_again() {
    use mapback::store::MemoryStore;
    use mapback_testkit::store::{Call, FaultyStore};
    let store = std::sync::Arc::new(FaultyStore::new(MemoryStore::new(vec![0; 5000])));
    store.fail_always(Call::Write, std::io::ErrorKind::StorageFull);
    let mut map = MmapOptions::new().flush_every(Duration::from_millis(2)).map_mut(store.clone()).unwrap();
    map[0] = 1;
    wait_for(|| store.failed() > 2);
    store.mend();
    wait_for(|| store.inner().to_vec()[0] == 1);
}

#[test]
fn small_pages_and_limits_change_no_content() {
    let file = Fixture::new(&vec![3; 5 << 20]);
    let mut map = MmapOptions::new().huge_pages(false).resident_limit(1 << 20).map_mut(file.open()).unwrap();
    assert!(map.iter().all(|b| *b == 3));
    map[1 << 20] = 4;
    map.close().unwrap();
    assert_eq!(file.content()[1 << 20], 4);
}
