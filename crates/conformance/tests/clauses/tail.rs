//! P11, P12: the last page's rest, and pages past the end of the file.

use libc::{BUS_ADRERR, MAP_PRIVATE, MAP_SHARED, SIGBUS};
use mapback_conformance::calls::ftruncate;
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::probe::Fault;
use mapback_conformance::{Map, TestFile, own_process, page};

#[test]
fn p11_the_rest_of_the_last_page_reads_zero() {
    own_process!();
    for len in [1, 100, page() - 1, page() + 1, 3 * page() + 17] {
        let file = TestFile::new(len);
        let end = len.next_multiple_of(page());
        for flags in [MAP_SHARED, MAP_PRIVATE] {
            let map = Map::new(len, RW, flags, file.fd(), 0).unwrap();
            assert_eq!(map.bytes(0, len), (0..len).map(pattern).collect::<Vec<_>>());
            assert_eq!(map.bytes(len, end - len), vec![0; end - len], "after {len} bytes");
        }
    }
}

#[test]
fn p11_stores_into_the_tail_are_never_written() {
    own_process!();
    let file = TestFile::new(page() + 100);
    let map = Map::shared(&file, 2 * page());
    map.set(page() + 50, 0xab);
    for at in 100..page() {
        map.set(page() + at, 0xcd);
    }
    map.sync();
    map.set(page() + 101, 0xef);
    map.unmap();
    assert_eq!(file.len(), page() + 100, "the file has not grown");
    assert_eq!(file.stored(page() + 50, 1000).len(), 50);
    assert_eq!(file.stored_byte(page() + 50), 0xab);
}

#[test]
fn p11_stores_into_the_tail_alone_change_nothing() {
    own_process!();
    let file = TestFile::new(10);
    let map = Map::shared(&file, page());
    map.set(10, 1);
    map.set(page() - 1, 2);
    map.sync();
    map.unmap();
    assert_eq!(file.stored_all(), (0..10).map(pattern).collect::<Vec<_>>());
}

#[test]
fn p11_stores_into_the_tail_are_not_seen_by_a_later_map() {
    own_process!();
    let file = TestFile::new(100);
    let map = Map::shared(&file, page());
    map.set(99, 0x99);
    map.set(100, 0xaa);
    map.set(page() - 1, 0xbb);
    map.sync();
    map.unmap();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let later = Map::new(page(), RW, flags, file.fd(), 0).unwrap();
        assert_eq!(later.get(99), 0x99);
        assert_eq!(later.bytes(100, page() - 100), vec![0; page() - 100]);
    }
}

#[cfg(unix)] // nobody tells mapback of ftruncate on Windows: see size.rs
#[test]
fn p11_a_tail_that_was_stored_into_is_zero_once_the_file_grows_over_it() {
    own_process!();
    let file = TestFile::new(100);
    let map = Map::shared(&file, page());
    map.set(200, 0xaa);
    map.sync();
    ftruncate(file.fd(), page() as i64).unwrap();
    assert_eq!(map.get(200), 0);
    map.unmap();
    assert_eq!(file.stored(100, page()), vec![0; page() - 100]);
}

#[test]
fn p12_whole_pages_past_the_end_are_sigbus() {
    own_process!();
    for (len, first_beyond) in [(100, 1), (page(), 1), (page() + 1, 2), (0, 0)] {
        let file = TestFile::new(len);
        for flags in [MAP_SHARED, MAP_PRIVATE] {
            let map = Map::new(5 * page(), RW, flags, file.fd(), 0).unwrap();
            for at in 0..5 {
                let addr = map.at(at * page() + 8);
                let fault = Fault { signal: SIGBUS, code: BUS_ADRERR, addr };
                if at < first_beyond {
                    assert!(map.load(at * page() + 8).is_ok(), "{len} bytes, page {at}");
                } else {
                    assert_eq!(map.load(at * page() + 8), Err(fault), "{len} bytes, page {at}");
                    assert_eq!(map.store(at * page() + 8, 1), Err(fault), "{len} bytes, page {at}");
                }
            }
        }
        assert_eq!(file.len(), len, "the file has not grown");
    }
}

#[test]
fn p12_a_map_longer_than_its_file_is_written_back_up_to_the_end() {
    own_process!();
    let file = TestFile::new(page() + 10);
    let map = Map::shared(&file, 64 * page());
    map.set(0, 1);
    map.set(page() + 9, 2);
    map.set(page() + 10, 3);
    map.sync();
    assert_eq!(file.stored_byte(0), 1);
    assert_eq!(file.stored_byte(page() + 9), 2);
    map.unmap();
    assert_eq!(file.len(), page() + 10);
}
