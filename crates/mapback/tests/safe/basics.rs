//! Mapping, storing, flushing, and the ends of maps.

use super::{Fixture, each_tracker};
use mapback::{Mmap, MmapMut, MmapOptions, OnConflict, RemapOptions};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

#[test]
fn stores_are_in_the_file_after_a_flush_and_after_a_drop() {
    for options in each_tracker() {
        let file = Fixture::new(&[1; 20_000]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[5000] = 2;
        map.flush().unwrap();
        assert_eq!(file.content()[5000], 2, "{options:?}");
        map[5001] = 3;
        map.flush_async().unwrap();
        assert_eq!(file.content()[5001], 3, "{options:?}");
        map[19_999] = 4;
        drop(map);
        let content = file.content();
        assert_eq!((content.len(), content[19_999], content[0]), (20_000, 4, 1), "{options:?}");
    }
}

#[test]
fn a_range_is_flushed_and_the_rest_stays_changed() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 40_960]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[0] = 1;
        map[20_000] = 2;
        map.flush_range(20_000, 1).unwrap();
        assert_eq!((file.content()[0], file.content()[20_000]), (0, 2), "{options:?}");
        map.flush().unwrap();
        assert_eq!(file.content()[0], 1, "{options:?}");
        assert_eq!(map.flush_range(40_000, 2000).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn offsets_need_no_alignment_and_neighbours_are_left_alone() {
    for options in each_tracker() {
        let before: Vec<u8> = (0..30_000u32).map(|n| n as u8).collect();
        let file = Fixture::new(&before);
        let mut map = options.clone().offset(5001).len(9000).map_mut(file.open()).unwrap();
        assert_eq!(map[..], before[5001..14_001]);
        map.fill(0xee);
        map.close().unwrap();
        let mut after = before;
        after[5001..14_001].fill(0xee);
        assert!(file.content() == after, "{options:?}");
    }
}

#[test]
fn empty_files_and_lengths_of_zero_are_maps() {
    let file = Fixture::new(b"");
    let mut map = MmapMut::map_mut(file.open()).unwrap();
    assert!(map.is_empty());
    map.flush().unwrap();
    map.flush_atomic().unwrap();
    assert_eq!(map.snapshot().unwrap().len(), 0);
    map.reload().unwrap();
    map.revert().unwrap();
    map.lock().unwrap();
    map.make_read_only().unwrap();
    assert!(Mmap::map(file.open()).unwrap().is_empty());
    assert!(MmapMut::map_anon(0).unwrap().is_empty());
    let full = Fixture::new(b"abc");
    assert!(MmapOptions::new().offset(3).map(full.open()).unwrap().is_empty());
    assert_eq!(MmapOptions::new().offset(4).map(full.open()).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn a_map_longer_than_its_file_is_written_up_to_the_end() {
    for options in each_tracker() {
        let file = Fixture::new(&[7; 5000]);
        let mut map = options.clone().len(20_000).map_mut(file.open()).unwrap();
        assert_eq!((map[4999], map[5000], map[19_999]), (7, 0, 0));
        map.fill(8);
        map.flush().unwrap();
        assert!(file.content() == [8; 5000], "{options:?}");
        // The rest is owed until the file has grown to have it.
        file.open().set_len(10_000).unwrap();
        map.reload().unwrap();
        map.flush().unwrap();
        assert!(file.content() == [8; 10_000], "{options:?}");
    }
}

#[test]
fn copies_and_anonymous_maps_change_no_file() {
    let file = Fixture::new(b"as it was");
    let mut copy = MmapOptions::new().map_copy(file.open()).unwrap();
    copy.fill(b'x');
    copy.flush().unwrap();
    copy.flush_atomic().unwrap();
    copy.close().unwrap();
    let copy = MmapOptions::new().map_copy_read_only(File::open(&file.path).unwrap()).unwrap();
    let mut copy = copy.make_mut().unwrap();
    copy.fill(b'y');
    drop(copy);
    assert_eq!(file.content(), b"as it was");
    let mut map = MmapOptions::new().len(10_000).map_anon().unwrap();
    assert!(map.iter().all(|b| *b == 0));
    map.fill(1);
    map.flush().unwrap();
}

#[test]
fn what_the_descriptor_does_not_allow_is_refused() {
    let file = Fixture::new(b"data");
    let read_only = File::open(&file.path).unwrap();
    assert_eq!(MmapMut::map_mut(&read_only).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(Mmap::map(&read_only).unwrap().make_mut().unwrap_err().kind(), ErrorKind::PermissionDenied);
    let write_only = File::options().write(true).open(&file.path).unwrap();
    assert_eq!(Mmap::map(&write_only).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(Mmap::map(Path::new("/")).is_err());
    assert!(Mmap::map(Path::new("/dev/null")).is_err());
}

#[test]
fn protections_go_back_and_forth_and_lose_nothing() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 9000]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[0] = 1;
        let map = map.make_read_only().unwrap();
        assert_eq!(map[0], 1);
        let mut map = map.make_mut().unwrap();
        map[8999] = 2;
        drop(map.make_read_only().unwrap());
        assert_eq!((file.content()[0], file.content()[8999]), (1, 2), "{options:?}");
        let mut map = options.map(file.open()).unwrap().make_mut().unwrap();
        map[1] = 3;
        drop(map);
        assert_eq!(file.content()[1], 3, "{options:?}");
    }
}

#[test]
fn the_file_may_be_closed_renamed_and_unlinked() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 5000]);
        let handle = file.open();
        let mut map = options.map_mut(&handle).unwrap();
        let moved = file.path.with_file_name("moved");
        std::fs::rename(&file.path, &moved).unwrap();
        map[0] = 1;
        map.flush().unwrap();
        assert_eq!(std::fs::read(&moved).unwrap()[0], 1, "{options:?}");
        std::fs::remove_file(&moved).unwrap();
        map[1] = 2;
        map.flush().unwrap();
        let mut content = Vec::new();
        (&handle).read_to_end(&mut content).unwrap();
        assert_eq!(content[..2], [1, 2], "{options:?}");
    }
}

#[test]
fn a_file_that_another_program_truncates_keeps_the_loaded_bytes() {
    for options in each_tracker() {
        let file = Fixture::new(&[5; 50_000]);
        let mut map = options.map_mut(file.open()).unwrap();
        #[cfg(unix)]
        {
            let mut truncate = std::process::Command::new("truncate");
            assert!(truncate.args(["-s", "10"]).arg(&file.path).status().unwrap().success());
        }
        #[cfg(windows)]
        file.open().set_len(10).unwrap();
        assert!(map.iter().all(|b| *b == 5), "{options:?}");
        map[40_000] = 6;
        let error = map.flush().unwrap_err();
        assert!(mapback::Error::conflict(&error).is_some(), "{options:?}: {error}");
        assert!(error.to_string().contains("it had 50000 bytes and has 10"), "{error}");
        assert_eq!(file.content(), [5; 10]);
    }
}

#[test]
fn remap_grows_shrinks_and_loses_nothing() {
    for options in each_tracker() {
        let file = Fixture::new(&[1; 100_000]);
        let mut map = options.clone().len(10_000).map_mut(file.open()).unwrap();
        map[9999] = 2;
        map.remap(100_000, RemapOptions::new().may_move(true)).unwrap();
        assert_eq!((map.len(), map[9999], map[10_000], map[99_999]), (100_000, 2, 1, 1));
        map[50_000] = 3;
        map[99_999] = 4;
        map.remap(60_000, RemapOptions::new()).unwrap();
        assert_eq!(file.content()[99_999], 4, "{options:?}: what is cut off is written back");
        map[59_999] = 5;
        map.remap(0, RemapOptions::new()).unwrap();
        assert!(map.is_empty());
        map.remap(10, RemapOptions::new().may_move(true)).unwrap();
        assert_eq!(map[..], [1; 10]);
        map[0] = 6;
        drop(map);
        let content = file.content();
        let changed = [0, 9999, 50_000, 59_999, 99_999].map(|at| content[at]);
        assert_eq!(changed, [6, 2, 3, 5, 4], "{options:?}");
        assert_eq!(content.iter().filter(|b| **b != 1).count(), 5, "{options:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn advice_and_locks_change_no_content() {
    use mapback::{Advice::*, UncheckedAdvice};
    for options in each_tracker() {
        let file = Fixture::new(&[9; 3 << 20]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[7] = 8;
        for advice in [Normal, Random, Sequential, WillNeed, HugePage, NoHugePage, DontDump, DoDump] {
            map.advise(advice).unwrap();
            map.advise_range(advice, 5000, 3).unwrap();
        }
        assert!(map.advise_range(Normal, 3 << 20, 1).is_err());
        // SAFETY: a map of a file keeps its content.
        unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) }.unwrap();
        map.lock().and_then(|()| map.unlock()).unwrap();
        assert_eq!((map[7], map[8]), (8, 9), "{options:?}");
        drop(map);
        assert_eq!(file.content()[7], 8);
    }
    let mut map = MmapMut::map_anon(8192).unwrap();
    map.fill(1);
    // SAFETY: nobody relies on the bytes.
    unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) }.unwrap();
    assert!(map.iter().all(|b| *b == 0), "an anonymous map loses it");
}

#[test]
fn locks_change_no_content() {
    for options in each_tracker() {
        let file = Fixture::new(&[9; 20_000]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[7] = 8;
        map.lock().and_then(|()| map.unlock()).unwrap();
        assert_eq!((map[7], map[8]), (8, 9), "{options:?}");
        drop(map);
        assert_eq!(file.content()[7], 8);
    }
}

#[test]
fn the_kernel_may_read_into_a_map() {
    // Not with `fault`, which docs/trackers.md says.
    for options in each_tracker().filter(|o| !format!("{o:?}").contains("Fault")) {
        let file = Fixture::new(&[0; 10_000]);
        let from = Fixture::new(&[3; 10_000]);
        let mut map = options.map_mut(file.open()).unwrap();
        from.open().read_exact(&mut map).unwrap();
        map.flush().unwrap();
        assert!(file.content() == [3; 10_000], "{options:?}");
    }
}

#[test]
fn maps_are_shared_and_sent_between_threads() {
    fn send_sync<T: Send + Sync + std::fmt::Debug + 'static>() {}
    send_sync::<Mmap>();
    send_sync::<MmapMut>();
    send_sync::<mapback::MmapRaw>();
    send_sync::<mapback::Snapshot>();
    for options in each_tracker() {
        let file = Fixture::new(&[0; 1 << 20]);
        let mut map = options.map_mut(file.open()).unwrap();
        std::thread::scope(|scope| {
            for (nth, part) in map.chunks_mut(100_000).enumerate() {
                scope.spawn(move || part.fill(nth as u8 + 1));
            }
        });
        std::thread::spawn(move || drop(map)).join().unwrap();
        let content = file.content();
        assert!(content.iter().enumerate().all(|(at, b)| *b == (at / 100_000) as u8 + 1), "{options:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_sparse_file_stays_sparse() {
    use std::os::unix::fs::MetadataExt;
    let file = Fixture::new(b"");
    file.open().set_len(1 << 30).unwrap();
    let blocks = || std::fs::metadata(&file.path).unwrap().blocks();
    let mut map = MmapOptions::new().tracker(mapback::TrackerKind::Compare).map_mut(file.open()).unwrap();
    map[1 << 29] = 1;
    map.flush().unwrap();
    assert!(blocks() < 1000, "{} blocks", blocks());
}

/// A map without bytes is one wherever it begins.
#[test]
fn empty_maps_at_any_offset_do_what_others_do() {
    for options in each_tracker() {
        let file = Fixture::new(&[1; 10_000]);
        let merging = options.clone().on_conflict(OnConflict::Merge).clone();
        for mut options in [options, merging] {
            let mut map = options.offset(5001).len(0).map_mut(file.open()).unwrap();
            map.flush().unwrap();
            assert!(map.is_empty() && map.snapshot().unwrap().is_empty());
            map.revert().unwrap();
            map.reload().unwrap();
            map.remap(3, RemapOptions::new().may_move(true)).unwrap();
            assert_eq!(map[..], [1; 3], "{options:?}");
            map.remap(0, RemapOptions::new()).unwrap();
            map.flush().unwrap();
            assert!(map.snapshot().unwrap().is_empty(), "{options:?}");
        }
    }
}
