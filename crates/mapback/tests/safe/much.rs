//! Flushes of so much, or so many runs, that they go past the page cache where the file system has that.

use super::{Fixture, trackers};
use mapback::{MmapMut, MmapOptions};

/// On a disk, with an end that is no block's.
fn fixture(len: usize) -> Fixture {
    // Cargo's directory may have another name where this was compiled.
    let place = if cfg!(windows) { std::env::temp_dir() } else { env!("CARGO_TARGET_TMPDIR").into() };
    let dir = tempfile::tempdir_in(place).unwrap();
    Fixture::within(dir, &vec![1; len])
}

#[test]
fn much_content_in_few_runs() {
    const LEN: usize = (40 << 20) + 123;
    let file = fixture(LEN);
    let mut map = MmapOptions::new().offset(5).map_mut(file.open()).unwrap();
    for n in 2..4 {
        map[..3 << 20].fill(n);
        map[(3 << 20) + 5000..].fill(n);
        // No conflict with our own writing, whichever way it went.
        map.flush().unwrap();
        let content = file.content();
        assert_eq!(content.len(), LEN);
        assert!(content[..5].iter().all(|b| *b == 1) && content[5..] == map[..], "round {n}");
    }
    drop(map);
    let map = MmapMut::map_mut(file.open()).unwrap();
    assert!(map[..] == file.content()[..]);
}

#[test]
fn many_scattered_runs_by_a_flush_and_by_a_checkpoint() {
    const LEN: usize = (16 << 20) + 77;
    for tracker in trackers() {
        let file = fixture(LEN);
        let mut map = MmapOptions::new().tracker(tracker).map_mut(file.open()).unwrap();
        for (round, flush) in [MmapMut::flush, MmapMut::flush_atomic].into_iter().enumerate() {
            for at in (round * 4096..LEN).step_by(3 * 4096) {
                map[at] = round as u8 + 7;
            }
            map[LEN - 1] = round as u8 + 7;
            flush(&map).unwrap();
        }
        let expected = map.to_vec();
        map.close().unwrap();
        assert!(file.content() == expected, "{tracker}");
        assert!(!file.journal().exists());
    }
}
