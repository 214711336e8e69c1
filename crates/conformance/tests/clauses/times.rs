//! P16: the file's times.

use std::time::{Duration, SystemTime};

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ};
use mapback_conformance::map::RW;
use mapback_conformance::process::tracked_as_whole;
use mapback_conformance::{Map, TestFile, does_not_apply, own_process, page};

const LONG_AGO: u64 = 1_000_000_000;

fn set_mtime_back(file: &TestFile) {
    file.file().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(LONG_AGO)).unwrap();
    assert_eq!(mtime(file), LONG_AGO as i64);
}

fn mtime(file: &TestFile) -> i64 {
    let modified = file.file().metadata().unwrap().modified().unwrap();
    modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

#[cfg(unix)]
fn ctime(file: &TestFile) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.file().metadata().unwrap();
    (metadata.ctime(), metadata.ctime_nsec())
}

#[test]
fn p16_mtime_and_ctime_are_marked_by_the_next_msync() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    for round in 2..5 {
        assert_ne!(map.get(0), round, "a store that changes the byte");
        map.sync();
        set_mtime_back(&file);
        #[cfg(unix)]
        let before = ctime(&file);
        // File systems stamp with a clock that ticks every few milliseconds.
        std::thread::sleep(Duration::from_millis(20));
        map.set(0, round);
        map.sync();
        assert!(mtime(&file) > LONG_AGO as i64, "mtime, round {round}");
        #[cfg(unix)]
        assert!(ctime(&file) > before, "ctime, round {round}");
    }
}

#[test]
fn p16_mtime_is_marked_by_munmap() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    set_mtime_back(&file);
    map.set(0, 9);
    map.unmap();
    assert!(mtime(&file) > LONG_AGO as i64);
}

#[test]
fn p16_without_a_store_the_times_stay() {
    own_process!();
    if tracked_as_whole() {
        return does_not_apply("P16: `whole` writes all that was ever writable, and a write marks the times");
    }
    let file = TestFile::new(4 * page());
    set_mtime_back(&file);
    for (prot, flags) in [(RW, MAP_SHARED), (PROT_READ, MAP_SHARED), (RW, MAP_PRIVATE)] {
        let map = Map::new(4 * page(), prot, flags, file.fd(), 0).unwrap();
        assert_ne!(map.get(2 * page()), 0);
        if flags == MAP_PRIVATE {
            map.set(page(), 1);
        }
        map.sync();
        map.unmap();
        assert_eq!(mtime(&file), LONG_AGO as i64);
    }
}
