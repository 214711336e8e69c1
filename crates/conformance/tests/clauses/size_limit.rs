//! RLIMIT_FSIZE: it bounds what `write` may make of a file, not what is stored in a map of one.

use std::fs::OpenOptions;

use mapback_conformance::{Map, TestFile, own_process};

const LEN: usize = 1 << 20;
const LIMIT: usize = 64 << 10;

/// From now on this process writes no file past `LIMIT`: SIGXFSZ would kill it.
fn limit_file_size() {
    // SAFETY: the struct lives through the calls.
    unsafe {
        let mut limit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit), 0);
        limit.rlim_cur = LIMIT as u64;
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

fn assert_stores_reach_the_file(map: Map, file: &TestFile) {
    map.set(1, 6);
    map.set(LEN / 2, 7);
    map.sync();
    assert_eq!((file.stored_byte(1), file.stored_byte(LEN / 2)), (6, 7), "after msync");
    map.set(LEN - 1, 8);
    map.unmap();
    assert_eq!(file.stored_byte(LEN - 1), 8, "after munmap");
    assert_eq!(file.len(), LEN);
}

#[test]
fn p22_a_limit_on_file_sizes_set_before_the_map() {
    own_process!();
    let file = TestFile::new(LEN);
    limit_file_size();
    assert_stores_reach_the_file(Map::shared(&file, LEN), &file);
}

#[test]
fn p22_a_limit_on_file_sizes_set_while_mapped() {
    own_process!();
    let file = TestFile::new(LEN);
    let map = Map::shared(&file, LEN);
    limit_file_size();
    assert_stores_reach_the_file(map, &file);
}

#[test]
fn p22_a_limit_on_file_sizes_still_binds_the_programs_own_writes() {
    own_process!();
    let (file, other) = (TestFile::new(LEN), TestFile::sparse(0));
    let map = Map::shared(&file, LEN);
    limit_file_size();
    mapback_conformance::signals::dispose(libc::SIGXFSZ, libc::SIG_IGN);
    map.set(LEN - 1, 8);
    map.sync();
    let writer = OpenOptions::new().write(true).open(other.path()).unwrap();
    let refused = writer.set_len(LEN as u64).map_err(|error| error.raw_os_error());
    assert_eq!(refused, Err(Some(libc::EFBIG)));
    assert_eq!(other.len(), 0);
    assert_eq!(file.stored_byte(LEN - 1), 8);
}
