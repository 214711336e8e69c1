//! L6, L7 and P15: the file's size changes while it is mapped.

use mapback_conformance::fd::AsRawFd;
use std::io::Write;

use libc::{BUS_ADRERR, MAP_PRIVATE, MAP_SHARED, SIGBUS};
use mapback_conformance::calls::{ftruncate, pwrite, write};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::probe::Fault;
use mapback_conformance::process::tracked_as_whole;
use mapback_conformance::{Map, TestFile, own_process, page};

#[track_caller]
fn assert_past_the_end(map: &Map, offset: usize) {
    let fault = Fault { signal: SIGBUS, code: BUS_ADRERR, addr: map.at(offset) };
    assert_eq!(map.load(offset), Err(fault));
    assert_eq!(map.store(offset, 1), Err(fault));
}

#[test]
fn l06_shrinking_makes_the_lost_pages_sigbus() {
    own_process!();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let file = TestFile::new(4 * page());
        let map = Map::new(4 * page(), RW, flags, file.fd(), 0).unwrap();
        map.set(0, 1);
        map.set(3 * page(), 2); // private copies are lost too
        assert_eq!(map.get(2 * page()), pattern(2 * page()));
        ftruncate(file.fd(), page() as i64).unwrap();
        assert_past_the_end(&map, page());
        assert_past_the_end(&map, 2 * page() + 1);
        assert_past_the_end(&map, 3 * page());
        assert_eq!(map.get(0), 1);
        map.unmap();
        assert_eq!(file.len(), page(), "nothing is written past the new end");
    }
}

#[test]
fn l06_regrown_pages_are_zero() {
    own_process!();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let file = TestFile::new(3 * page());
        let map = Map::new(3 * page(), RW, flags, file.fd(), 0).unwrap();
        map.set(2 * page(), 9);
        ftruncate(file.fd(), page() as i64 + 10).unwrap();
        assert_eq!(map.get(page() + 9), pattern(page() + 9));
        assert_eq!(map.get(page() + 10), 0, "the last page's rest is zero at once");
        ftruncate(file.fd(), 3 * page() as i64).unwrap();
        assert_eq!(map.bytes(page() + 10, 2 * page() - 10), vec![0; 2 * page() - 10]);
        map.set(2 * page() + 1, 8);
        map.sync();
        if flags == MAP_SHARED {
            assert_eq!(file.stored(2 * page(), 2), [0, 8]);
        }
    }
}

#[test]
fn l06_truncating_by_name_or_at_open_counts_as_well() {
    own_process!();
    let name = |file: &TestFile| std::ffi::CString::new(file.path().to_str().unwrap()).unwrap();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(page(), 1);
    // SAFETY: the name ends in NUL.
    assert_eq!(unsafe { libc::truncate(name(&file).as_ptr(), page() as i64) }, 0);
    assert_past_the_end(&map, page());
    map.set(0, 2);
    drop(file.open(libc::O_RDWR | libc::O_TRUNC));
    assert_past_the_end(&map, 0);
    map.unmap();
    assert_eq!(file.len(), 0);
}

#[test]
fn l06_a_file_cut_to_nothing_and_written_anew() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(0, 1);
    drop(file.open(libc::O_RDWR | libc::O_TRUNC));
    (&mut file.file()).write_all(b"").unwrap();
    pwrite(file.fd(), b"fresh".as_ptr() as usize, 5, 0).unwrap();
    assert_eq!(map.bytes(0, 7), b"fresh\0\0");
    map.set(1, b'l');
    map.unmap();
    assert_eq!(file.stored_all(), b"flesh");
}

#[test]
fn l06_changes_made_before_shrinking_survive_in_what_is_left() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    for at in 0..4 {
        map.set(at * page() + 1, 0x10 + at as u8);
    }
    ftruncate(file.fd(), 2 * page() as i64).unwrap();
    map.sync();
    assert_eq!(file.len(), 2 * page());
    assert_eq!((file.stored_byte(1), file.stored_byte(page() + 1)), (0x10, 0x11));
}

#[test]
fn l06_growth_makes_the_new_part_accessible_through_the_old_map() {
    own_process!();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let file = TestFile::new(100);
        let map = Map::new(4 * page(), RW, flags, file.fd(), 0).unwrap();
        map.set(0, 1);
        assert_past_the_end(&map, 3 * page());
        ftruncate(file.fd(), 4 * page() as i64).unwrap();
        assert_eq!(map.get(99), pattern(99));
        assert_eq!(map.bytes(100, 50), vec![0; 50]);
        map.set(3 * page(), 0x21);
        map.unmap();
        let expected = if flags == MAP_SHARED { 0x21 } else { 0 };
        assert_eq!(file.stored_byte(3 * page()), expected);
    }
}

#[test]
fn l06_the_size_may_go_up_and_down() {
    own_process!();
    let file = TestFile::new(0);
    let map = Map::shared(&file, 16 * page());
    for round in 0..40usize {
        let len = round * 7919 % (16 * page() + 1);
        ftruncate(file.fd(), len as i64).unwrap();
        for at in 0..16 {
            let accessible = at * page() < len;
            assert_eq!(map.store(at * page(), round as u8).is_ok(), accessible, "{len} bytes, page {at}");
        }
        if round % 3 == 0 {
            map.sync();
        }
        assert_eq!(file.len(), len);
    }
}

#[test]
fn l07_a_map_longer_than_the_file_sees_ftruncate() {
    own_process!();
    let file = TestFile::new(10);
    let map = Map::shared(&file, 8 * page());
    assert_past_the_end(&map, page());
    for pages in [2, 5, 8] {
        ftruncate(file.fd(), (pages * page()) as i64).unwrap();
        assert_eq!(map.get((pages - 1) * page()), 0);
        map.set(pages * page() - 1, pages as u8);
    }
    map.sync();
    for pages in [2, 5, 8] {
        assert_eq!(file.stored_byte(pages * page() - 1), pages as u8);
    }
}

#[test]
fn l07_a_map_longer_than_the_file_sees_pwrite_and_write() {
    own_process!();
    let file = TestFile::new(0);
    let map = Map::shared(&file, 4 * page());
    assert_past_the_end(&map, 0);
    let bytes = [0x31u8; 100];
    pwrite(file.fd(), bytes.as_ptr() as usize, 100, page() as i64).unwrap();
    assert_eq!(map.get(0), 0, "the hole before");
    assert_eq!(map.bytes(page() + 99, 2), [0x31, 0]);
    assert_past_the_end(&map, 2 * page());
    map.set(0, 0x32);
    map.set(page() + 50, 0x33);
    let appending = file.open(libc::O_WRONLY | libc::O_APPEND);
    let more = vec![0x34u8; page()];
    write(appending.as_raw_fd(), more.as_ptr() as usize, page()).unwrap();
    assert_eq!(map.bytes(page() + 99, 2), [0x31, 0x34]);
    assert_eq!(map.get(2 * page() + 99), 0x34);
    map.unmap();
    assert_eq!(file.len(), 2 * page() + 100);
    assert_eq!((file.stored_byte(0), file.stored_byte(page() + 50)), (0x32, 0x33));
    assert_eq!(file.stored_byte(2 * page() + 99), 0x34);
}

#[test]
fn l07_a_map_longer_than_the_file_sees_fallocate() {
    own_process!();
    let file = TestFile::new(1);
    let map = Map::shared(&file, 4 * page());
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::posix_fallocate(file.fd(), 0, 2 * page() as i64) }, 0);
    map.set(page(), 0x41);
    assert_past_the_end(&map, 2 * page());
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::fallocate(file.fd(), 0, 0, 3 * page() as i64) }, 0);
    map.set(2 * page(), 0x42);
    map.unmap();
    assert_eq!(file.len(), 3 * page());
    assert_eq!((file.stored_byte(page()), file.stored_byte(2 * page())), (0x41, 0x42));
}

#[test]
fn p15_every_map_of_the_file_follows_its_size() {
    own_process!();
    let file = TestFile::new(page());
    let maps =
        [Map::shared(&file, 3 * page()), Map::shared(&file, 2 * page()), Map::private(&file, 3 * page())];
    ftruncate(file.fd(), 2 * page() as i64).unwrap();
    maps[0].set(page(), 0x51);
    for map in &maps {
        assert_eq!(map.load(page()), Ok(0x51));
    }
    ftruncate(file.fd(), 0).unwrap();
    for map in &maps {
        assert_past_the_end(map, 0);
    }
}

#[test]
fn l07_a_sparse_file_of_six_gibibytes() {
    own_process!();
    use std::os::unix::fs::MetadataExt;
    const GIB: usize = 1 << 30;
    let file = TestFile::sparse(6 * GIB as u64);
    for flags in [MAP_PRIVATE, MAP_SHARED] {
        let map = Map::new(6 * GIB, RW, flags, file.fd(), 0).unwrap();
        for at in [0, 2 * GIB + 5, 4 * GIB - 1, 4 * GIB, 6 * GIB - 1] {
            assert_eq!(map.get(at), 0);
            map.set(at, 0x61);
        }
        if flags == MAP_SHARED {
            map.sync();
            map.set(5 * GIB, 0x62);
        }
        map.unmap();
    }
    assert_eq!(file.stored_byte(2 * GIB + 5), 0x61);
    assert_eq!(file.stored_byte(5 * GIB), 0x62);
    assert_eq!(file.stored_byte(6 * GIB - 1), 0x61);
    assert_eq!(file.len(), 6 * GIB);
    let stored = file.file().metadata().unwrap().blocks() * 512;
    // L7, on purpose: `whole` writes all that was ever writable.
    assert!(stored < 64 << 20 || tracked_as_whole(), "the holes are filled: {stored} bytes");
}

#[test]
fn l07_a_far_part_of_a_huge_sparse_file() {
    own_process!();
    let (tib, window) = (1usize << 40, 4 * page());
    let file = TestFile::sparse(2 * tib as u64 + 5);
    let map = Map::new(window, RW, MAP_SHARED, file.fd(), tib as i64).expect("a window at 1 TiB");
    map.set(1, 0x71);
    let last = Map::new(window, RW, MAP_SHARED, file.fd(), 2 * tib as i64).expect("the file's last page");
    last.set(4, 0x72);
    assert_past_the_end(&last, page());
    map.unmap();
    last.unmap();
    assert_eq!(file.stored_byte(tib + 1), 0x71);
    assert_eq!(file.stored_byte(2 * tib + 4), 0x72);
    assert_eq!(file.len(), 2 * tib + 5);
}
