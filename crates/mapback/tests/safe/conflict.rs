//! Changes by others (I7).

use super::{Fixture, each_tracker};
use mapback::{Error, MmapMut, MmapOptions, OnConflict, TrackerKind};

fn is_conflict(done: std::io::Result<()>) -> bool {
    done.is_err_and(|error| Error::conflict(&error).is_some())
}

#[test]
fn a_change_by_other_means_is_told_before_anything_is_overwritten() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 10_000]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[0] = 1;
        map.flush().unwrap();
        file.write_at(&[9], 5);
        map[1] = 2;
        assert!(is_conflict(map.flush()), "{options:?}");
        assert!(
            is_conflict(map.flush_async()) && is_conflict(map.flush_atomic()) && is_conflict(map.flush())
        );
        assert_eq!(file.content()[..6], [1, 0, 0, 0, 0, 9], "{options:?}: nothing was written");
        drop(map);
        assert_eq!(file.content()[..6], [1, 0, 0, 0, 0, 9], "{options:?}: nor by the drop");
    }
}

#[test]
fn without_changes_of_our_own_there_is_no_conflict() {
    let file = Fixture::new(&[0; 10_000]);
    let map = MmapOptions::new().tracker(TrackerKind::Compare).map_mut(file.open()).unwrap();
    file.write_at(&[9], 5);
    drop(map);
    assert_eq!(file.content()[5], 9);
}

#[test]
fn overwrite_writes_changed_pages_and_no_others() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 12_288]);
        let mut map = options.clone().on_conflict(OnConflict::Overwrite).map_mut(file.open()).unwrap();
        map[0] = 1;
        file.write_at(&[9], 1);
        file.write_at(&[9], 5000);
        map.flush().unwrap();
        let content = file.content();
        let whole = format!("{options:?}").contains("Whole");
        let exact = format!("{options:?}").contains("Compare");
        assert_eq!(content[..2], [1, if exact { 9 } else { 0 }], "{options:?}");
        assert_eq!(content[5000], if whole { 0 } else { 9 }, "{options:?}");
    }
}

#[test]
fn merge_keeps_both_programs_bytes_in_one_page() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 10_000]);
        let mut map = options.clone().on_conflict(OnConflict::Merge).map_mut(file.open()).unwrap();
        map[0] = 1;
        map[9999] = 1;
        file.write_at(&[9, 9], 1);
        map.flush().unwrap();
        assert_eq!(file.content()[..4], [1, 9, 9, 0], "{options:?}");
        map[3] = 1;
        map.flush().unwrap();
        assert_eq!(file.content()[..5], [1, 9, 9, 1, 0], "{options:?}");
        map.reload().unwrap();
        assert_eq!(map[..5], [1, 9, 9, 1, 0], "{options:?}");
    }
}

#[test]
fn reload_keeps_own_changes_by_page_or_by_byte() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 12_288]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[0] = 1;
        file.write_at(&[9], 1);
        file.write_at(&[9], 5000);
        assert!(is_conflict(map.flush()));
        map.reload().unwrap();
        let name = format!("{options:?}");
        assert_eq!(map[..2], [1, if name.contains("Compare") { 9 } else { 0 }], "{name}");
        assert_eq!(map[5000], if name.contains("Whole") { 0 } else { 9 }, "{name}");
        map.flush().unwrap();
        assert!(file.content() == map[..], "{name}");
        map[2] = 3;
        map.flush().unwrap();
        assert_eq!(file.content()[2], 3, "{name}");
    }
}

#[test]
fn two_maps_in_one_process_conflict_where_they_overlap_and_only_there() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 16_384]);
        let mut left = options.clone().len(8192).map_mut(file.open()).unwrap();
        let mut right = options.clone().offset(8192).map_mut(file.open()).unwrap();
        let mut all = options.map_mut(file.open()).unwrap();
        for n in 1..5 {
            left[0] = n;
            left.flush().unwrap();
            right[0] = n;
            right.flush().unwrap();
        }
        all[1] = 7;
        let error = all.flush().unwrap_err();
        assert_eq!(Error::conflict(&error).unwrap().range().unwrap().start, 0, "{options:?}");
        all.reload().unwrap();
        all.flush().unwrap();
        left[2] = 8;
        assert!(is_conflict(left.flush()), "{options:?}");
        // To `whole` everything is the map's own change, so that a reload keeps it.
        let whole = format!("{options:?}").contains("Whole");
        assert_eq!(file.content()[8192], if whole { 0 } else { 4 }, "{options:?}");
    }
}

#[test]
fn two_flushes_in_one_tick_of_the_files_clock_are_told_apart() {
    let file = Fixture::new(&[0; 4096]);
    let mut a = MmapMut::map_mut(file.open()).unwrap();
    let mut b = MmapMut::map_mut(file.open()).unwrap();
    for n in 0..100 {
        a[0] = n;
        a.flush_async().unwrap();
        b[1] = n;
        assert!(is_conflict(b.flush_async()), "round {n}");
        b.reload().unwrap();
        b.flush_async().unwrap();
        a.reload().unwrap();
    }
}

#[test]
fn renaming_or_chmod_is_no_change_of_content() {
    let file = Fixture::new(&[0; 4096]);
    let mut map = MmapMut::map_mut(file.open()).unwrap();
    std::fs::rename(&file.path, file.path.with_file_name("other")).unwrap();
    map[0] = 1;
    map.flush().unwrap();
}

#[test]
fn a_revert_after_anothers_change_asks_for_a_reload_first() {
    let file = Fixture::new(&[0; 4096]);
    let mut map = MmapMut::map_mut(file.open()).unwrap();
    map[0] = 1;
    file.write_at(&[9], 1);
    assert!(is_conflict(map.revert()));
    assert_eq!(map[0], 1);
    map.reload().unwrap();
    map.revert().unwrap();
    assert_eq!(map[..2], [0, 9]);
}
