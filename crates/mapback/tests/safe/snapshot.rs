//! Snapshots and reverts.

use super::{Fixture, each_tracker};
use mapback::{MmapMut, RemapOptions};

#[test]
fn snapshots_stay_as_they_are() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 100_000]);
        let mut map = options.map_mut(file.open()).unwrap();
        let mut kept = Vec::new();
        for n in 1..6u8 {
            map[usize::from(n) * 10_000] = n;
            map[0] = n;
            kept.push((map.snapshot().unwrap(), map.to_vec()));
            if n == 3 {
                map.flush().unwrap();
            }
        }
        map.fill(0xff);
        map.flush().unwrap();
        drop(map);
        for (snapshot, model) in kept {
            assert!(snapshot[..] == model, "{options:?}");
        }
        assert!(file.content() == [0xff; 100_000], "{options:?}");
    }
}

#[test]
fn stores_after_a_snapshot_are_still_noticed() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 40_960]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[0] = 1;
        let first = map.snapshot().unwrap();
        map[5000] = 2;
        map.flush().unwrap();
        assert_eq!((file.content()[0], file.content()[5000], first[5000]), (1, 2, 0), "{options:?}");
        map[30_000] = 3;
        drop(map);
        assert_eq!(file.content()[30_000], 3, "{options:?}");
    }
}

#[test]
fn maps_with_snapshots_grow_reload_and_revert() {
    for options in each_tracker() {
        let file = Fixture::new(&[1; 60_000]);
        let mut map = options.clone().len(10_000).map_mut(file.open()).unwrap();
        let first = map.snapshot().unwrap();
        map.remap(60_000, RemapOptions::new().may_move(true)).unwrap();
        map[50_000] = 2;
        let second = map.snapshot().unwrap();
        map.revert().unwrap();
        assert_eq!(
            (map[50_000], second[50_000], second[59_999], second.len()),
            (1, 2, 1, 60_000),
            "{options:?}"
        );
        assert!(first[..] == [1; 10_000]);
        map.remap(5000, RemapOptions::new()).unwrap();
        let third = map.snapshot().unwrap();
        assert!(third[..] == [1; 5000], "{options:?}");
    }
}

#[test]
fn copies_and_anonymous_maps_have_snapshots_too() {
    let mut map = MmapMut::map_anon(9000).unwrap();
    map[8999] = 1;
    let snapshot = map.snapshot().unwrap();
    map[8999] = 2;
    assert_eq!((snapshot[8999], snapshot.len()), (1, 9000));
    assert_eq!(map.revert().unwrap_err().kind(), std::io::ErrorKind::Unsupported);
}

#[test]
fn a_revert_takes_back_what_was_not_flushed() {
    for options in each_tracker() {
        let file = Fixture::new(&[1; 20_000]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[0] = 2;
        map.flush().unwrap();
        map.fill(3);
        map.revert().unwrap();
        assert_eq!((map[0], map[1], map[19_999]), (2, 1, 1), "{options:?}");
        map[5] = 4;
        map.flush().unwrap();
        let content = file.content();
        assert_eq!((content[0], content[5], content[19_999]), (2, 4, 1), "{options:?}");
    }
}

/// A map that is made shorter and longer again shows what the file has by then, and nothing of what it had itself.
#[test]
fn what_was_cut_off_does_not_come_back() {
    for options in each_tracker() {
        for (founded, len) in [false, true].into_iter().flat_map(|f| [(f, 5000), (f, 30_000)]) {
            let file = Fixture::new(&[1; 40_960]);
            let mut map = options.map_mut(file.open()).unwrap();
            let kept = founded.then(|| map.snapshot().unwrap());
            map.remap(5000, RemapOptions::new()).unwrap();
            // The rest is a hole, or not there.
            file.open().set_len(5000).unwrap();
            file.open().set_len(len).unwrap();
            map.reload().unwrap();
            map.remap(40_960, RemapOptions::new().may_move(true)).unwrap();
            let wrong = map.iter().enumerate().find(|(at, byte)| **byte != u8::from(*at < 5000));
            assert_eq!(wrong, None, "{options:?}, {founded}, {len}");
            map.flush().unwrap();
            assert!(file.content() == map[..len as usize], "{options:?}");
            assert!(kept.is_none_or(|kept| kept[..] == [1; 40_960]), "{options:?}");
        }
    }
}
