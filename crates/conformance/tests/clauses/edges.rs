//! L2 where a map ends within a page: what a program writes behind it by `write` lasts, whatever it stores before it.
//! So it is with programs that map an index and write the records behind it.

use libc::{MS_INVALIDATE, MS_SYNC};
#[cfg(windows)]
use mapback_conformance::calls::kernel::pwrite;
use mapback_conformance::calls::{ftruncate, msync};
use mapback_conformance::process::tracked_as_whole;
use mapback_conformance::{Map, TestFile, own_process, page};

#[cfg(unix)]
fn pwrite(fd: i32, bytes: &[u8], off: i64) -> Result<usize, mapback_conformance::calls::Errno> {
    mapback_conformance::calls::pwrite(fd, bytes.as_ptr() as usize, bytes.len(), off)
}

#[test]
fn l02_what_is_written_behind_the_end_of_a_map_lasts() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, page() + 100);
    for round in 1..4u8 {
        pwrite(file.fd(), &[round; 50], page() as i64 + 150).unwrap();
        map.set(page() + 99, round);
        map.sync();
        assert_eq!(file.stored(page() + 99, 1), [round]);
        assert_eq!(file.stored(page() + 150, 50), [round; 50], "after msync");
    }
    pwrite(file.fd(), &[7; 50], page() as i64 + 150).unwrap();
    map.set(page(), 8);
    map.unmap();
    assert_eq!(file.stored(page() + 150, 50), [7; 50], "after munmap");
    assert_eq!(file.stored(page(), 1), [8]);
}

#[test]
fn l02_what_is_appended_behind_the_end_of_a_map_lasts() {
    own_process!();
    let file = TestFile::new(100);
    let map = Map::shared(&file, 100);
    for round in 1..4u8 {
        let end = file.len() as i64;
        pwrite(file.fd(), &[round; 20], end).unwrap();
        map.sync();
        pwrite(file.fd(), &[round + 100; 10], end).unwrap();
        map.set(1, round);
        map.sync();
        assert_eq!(file.stored(1, 1), [round]);
        assert_eq!(file.stored(end as usize, 10), [round + 100; 10]);
        assert_eq!(file.stored(end as usize + 10, 10), [round; 10]);
    }
    assert_eq!(file.len(), 160);
}

#[test]
fn l02_what_was_taken_over_behind_the_end_of_a_map_is_not_written_again() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, 100);
    map.set(1, 1);
    pwrite(file.fd(), &[2; 10], 200).unwrap();
    msync(map.addr(), 100, MS_SYNC | MS_INVALIDATE).unwrap();
    // To `whole` every page is the program's own change (P24).
    assert!(map.get(205) == 2 || tracked_as_whole());
    pwrite(file.fd(), &[3; 10], 200).unwrap();
    map.set(1, 4);
    map.sync();
    assert_eq!(file.stored(200, 10), [3; 10]);
}

#[test]
fn l02_what_is_stored_behind_the_end_of_a_map_in_its_last_page_lasts() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, 100);
    map.set(50, 1);
    map.set(200, 2);
    map.sync();
    assert_eq!((file.stored_byte(50), file.stored_byte(200)), (1, 2));
    map.set(200, 3);
    map.unmap();
    assert_eq!(file.stored_byte(200), 3);
}

#[test]
fn l02_a_longer_map_takes_what_was_behind_a_shorter_one() {
    own_process!();
    let file = TestFile::new(2 * page());
    let short = Map::shared(&file, 100);
    short.set(0, 1);
    short.sync();
    short.unmap();
    let long = Map::shared(&file, 2 * page());
    long.set(300, 4);
    long.sync();
    let old = file.stored_byte(300);
    assert_eq!(old, 4);
    ftruncate(file.fd(), 200).unwrap();
    long.sync();
    ftruncate(file.fd(), 2 * page() as i64).unwrap();
    long.sync();
    assert_eq!(long.get(300), 0);
    long.set(300, 5);
    long.unmap();
    assert_eq!(file.stored_byte(300), 5);
}
