//! A disk that is really full: a small file system in memory, in a mount namespace of its own.

use mapback::{Error, MmapOptions, MmapShared, TrackerKind};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

/// Where the small file system is, when this program runs beside it.
const DIR: &str = "MAPBACK_TEST_FULL_DISK";

/// Fills the disk, fails to flush, makes room, and flushes.
fn fill_and_make_room(dir: &Path, kind: TrackerKind) {
    const LEN: usize = 600 << 10;
    let path = dir.join(kind.name());
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    // A hole: the disk has no room for the content yet.
    file.set_len(LEN as u64).unwrap();
    let mut map = MmapOptions::new().tracker(kind).map_mut(&file).unwrap();
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 700 << 10]).unwrap();
    map.fill(7);
    for flush in [mapback::MmapMut::flush, mapback::MmapMut::flush_async, mapback::MmapMut::flush] {
        let error = flush(&map).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{kind}: {error}");
        let Some(Error::Write { range, .. }) = Error::of(&error) else { panic!("{kind}: {error:?}") };
        assert!(!range.is_empty() && range.end <= LEN as u64);
        assert!(map.iter().all(|b| *b == 7), "{kind}");
    }
    assert_eq!(map.flush_atomic().unwrap_err().kind(), ErrorKind::StorageFull, "{kind}");
    std::fs::remove_file(&ballast).unwrap();
    map.flush().unwrap();
    assert!(std::fs::read(&path).unwrap() == vec![7; LEN], "{kind}");
    drop(map);
    std::fs::remove_file(&path).unwrap();
}

/// The same for a map that processes share.
fn fill_and_make_room_shared(dir: &Path) {
    const LEN: usize = 600 << 10;
    let path = dir.join("shared");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.set_len(LEN as u64).unwrap();
    let map = MmapShared::map_shared(&file).unwrap();
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 700 << 10]).unwrap();
    map.write(0, &[7; LEN]);
    for _ in 0..2 {
        let error = map.flush().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        assert!(matches!(Error::of(&error), Some(Error::Write { .. })), "{error:?}");
        assert!(map.iter().all(|b| b.load(Ordering::Relaxed) == 7));
    }
    std::fs::remove_file(&ballast).unwrap();
    map.flush().unwrap();
    assert!(std::fs::read(&path).unwrap() == vec![7; LEN]);
}

#[test]
fn a_full_disk_frees_nothing_and_room_made_is_enough() {
    if let Some(dir) = std::env::var_os(DIR) {
        for kind in super::trackers() {
            fill_and_make_room(&PathBuf::from(&dir), kind);
        }
        fill_and_make_room_shared(&PathBuf::from(&dir));
        return;
    }
    on_a_small_disk("full_disk::a_full_disk_frees_nothing_and_room_made_is_enough", None);
}

/// Runs a test once more, beside a small file system; with a tracker, images are there, too.
fn on_a_small_disk(test: &str, images: Option<TrackerKind>) {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=1m none \"${DIR}\" && exec \"$0\" --exact {test}");
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir.path());
    if let Some(tracker) = images {
        command.env("MAPBACK_SHARED_DIR", dir.path().join("images")).env("MAPBACK_TRACKER", tracker.name());
    }
    let output = command.output().expect("unshare, of util-linux");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{images:?}: {:?}\n{text}", output.status);
}

/// Holes of a sparse file have no memory, and need none as long as the program leaves them alone: no access of the
/// library's own may be the one that finds the shared directory full.
#[test]
fn holes_are_left_alone_where_images_have_no_room() {
    const LEN: u64 = 8 << 20;
    let Some(dir) = std::env::var_os(DIR) else {
        // `whole` writes all there is, holes included.
        for tracker in super::trackers().into_iter().filter(|kind| *kind != TrackerKind::Whole) {
            on_a_small_disk("full_disk::holes_are_left_alone_where_images_have_no_room", Some(tracker));
        }
        return;
    };
    let file = super::Fixture::new(&[]);
    file.open().set_len(LEN + 100).unwrap();
    let map = MmapShared::map_shared(file.open()).unwrap();
    map[5000].store(1, Ordering::Relaxed);
    let ballast = PathBuf::from(&dir).join("ballast");
    assert_eq!(std::fs::write(&ballast, vec![1; 2 << 20]).unwrap_err().kind(), ErrorKind::StorageFull);
    map.flush().unwrap();
    // An outsider writes where there is room, and makes the file longer.
    std::os::unix::fs::FileExt::write_all_at(&file.open(), &[2], 6000).unwrap();
    file.open().set_len(LEN + 200).unwrap();
    let again = MmapShared::map_shared(file.open()).unwrap();
    let seen = [5000, 6000].map(|at: usize| again[at].load(Ordering::Relaxed));
    assert_eq!((seen, again.len() as u64), ([1, 2], LEN + 200));
    again.flush().unwrap();
    // Where there is none it is said. The times of files have ticks.
    std::thread::sleep(std::time::Duration::from_millis(30));
    std::os::unix::fs::FileExt::write_all_at(&file.open(), &[3], 1 << 20).unwrap();
    assert_eq!(MmapShared::map_shared(file.open()).unwrap_err().kind(), ErrorKind::StorageFull);
}
