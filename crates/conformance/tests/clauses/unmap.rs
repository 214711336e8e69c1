//! P20: `munmap`.

use libc::{MAP_FIXED, MAP_PRIVATE, MAP_SHARED, SIGSEGV};
use mapback_conformance::calls::{assert_errno, mmap, munmap};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::probe::{Fault, SEGV_MAPERR};
use mapback_conformance::{Map, TestFile, own_process, page};

#[track_caller]
fn assert_gone(map: &Map, offset: usize) {
    let fault = Fault { signal: SIGSEGV, code: SEGV_MAPERR, addr: map.at(offset) };
    assert_eq!(map.load(offset), Err(fault));
    assert_eq!(map.store(offset, 1), Err(fault));
}

#[test]
fn p20_length_zero_or_misalignment_is_einval() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    assert_errno(munmap(map.addr(), 0), libc::EINVAL);
    for misaligned in [1, 16, page() - 1] {
        assert_errno(munmap(map.addr() + misaligned, page()), libc::EINVAL);
    }
    assert_errno(munmap(map.addr(), usize::MAX), libc::EINVAL);
    assert_errno(munmap(map.addr(), 1 << 63), libc::EINVAL);
    map.set(page(), 5);
    assert_eq!(map.get(0), pattern(0));
}

#[test]
fn p20_a_range_without_a_map_is_success() {
    own_process!();
    let file = TestFile::new(page());
    let (addr, len) = Map::shared(&file, page()).leak();
    for _ in 0..3 {
        assert_eq!(munmap(addr, len), Ok(()));
    }
}

#[test]
fn p20_afterwards_an_access_is_sigsegv() {
    own_process!();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let file = TestFile::new(3 * page());
        let map = Map::new(3 * page(), RW, flags, file.fd(), 0).unwrap();
        map.set(page(), 1);
        munmap(map.addr(), 3 * page()).unwrap();
        for at in 0..3 {
            assert_gone(&map, at * page() + 9);
        }
    }
}

#[test]
fn p20_a_length_counts_up_to_whole_pages() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    munmap(map.addr(), page() + 1).unwrap();
    assert_gone(&map, 2 * page() - 1);
    assert_eq!(map.load(2 * page()), Ok(pattern(2 * page())));
}

#[test]
fn p20_a_part_of_a_map_may_go() {
    own_process!();
    // The front, the middle and the end, each of a map of its own.
    for (from, to) in [(0, 2), (2, 5), (6, 8)] {
        let file = TestFile::new(8 * page());
        let map = Map::shared(&file, 8 * page());
        for at in 0..8 {
            map.set(at * page(), 0xb0 + at as u8);
        }
        munmap(map.at(from * page()), (to - from) * page()).unwrap();
        for at in from..to {
            assert_gone(&map, at * page());
            assert_eq!(file.stored_byte(at * page()), 0xb0 + at as u8, "written back by the partial munmap");
        }
        for at in (0..8).filter(|at| !(from..to).contains(at)) {
            assert_eq!(map.load(at * page()), Ok(0xb0 + at as u8));
            map.set(at * page() + 1, 0xc0 + at as u8);
        }
        map.unmap();
        for at in 0..8 {
            let gone = (from..to).contains(&at);
            let second = if gone { pattern(at * page() + 1) } else { 0xc0 + at as u8 };
            assert_eq!(file.stored(at * page(), 2), [0xb0 + at as u8, second], "page {at}");
        }
    }
}

#[test]
fn p20_every_other_page_may_go() {
    own_process!();
    let pages = 64;
    let file = TestFile::new(pages * page());
    let map = Map::shared(&file, pages * page());
    for at in (1..pages).step_by(2) {
        map.set(at * page(), 1);
        munmap(map.at(at * page()), page()).unwrap();
    }
    for at in 0..pages {
        match at % 2 {
            0 => map.set(at * page(), 2),
            _ => assert_gone(&map, at * page()),
        }
    }
    map.unmap();
    for at in 0..pages {
        assert_eq!(file.stored_byte(at * page()), 2 - (at % 2) as u8, "page {at}");
    }
}

#[cfg(unix)] // W5, see granules.rs
#[test]
fn p20_one_call_covers_several_maps_and_holes() {
    own_process!();
    let (one, two) = (TestFile::new(3 * page()), TestFile::new(3 * page()));
    let room = Map::anonymous(9 * page(), RW);
    mmap(room.addr(), 3 * page(), RW, MAP_SHARED | MAP_FIXED, one.fd(), 0).unwrap();
    munmap(room.at(4 * page()), page()).unwrap();
    mmap(room.at(5 * page()), 3 * page(), RW, MAP_SHARED | MAP_FIXED, two.fd(), 0).unwrap();
    for at in [0, 1, 2, 5, 6, 7] {
        room.set(at * page(), 0xd0 + at as u8);
    }
    munmap(room.at(page()), 5 * page()).unwrap();
    for at in 1..6 {
        assert_gone(&room, at * page());
    }
    assert_eq!(one.stored_byte(page()), 0xd1);
    assert_eq!(one.stored_byte(2 * page()), 0xd2);
    assert_eq!(two.stored_byte(0), 0xd5);
    assert_eq!(room.load(0), Ok(0xd0));
    assert_eq!(room.load(6 * page()), Ok(0xd6));
    assert_eq!(room.load(8 * page()), Ok(0));
    room.unmap();
    assert_eq!(one.stored_byte(0), 0xd0);
    assert_eq!(two.stored_byte(2 * page()), 0xd7);
}

#[test]
fn p20_private_changes_are_discarded_and_shared_ones_written_back() {
    own_process!();
    let file = TestFile::new(page());
    let (private, shared) = (Map::private(&file, page()), Map::shared(&file, page()));
    private.set(0, 1);
    shared.set(1, 2);
    private.unmap();
    shared.unmap();
    assert_eq!(file.stored(0, 3), [pattern(0), 2, pattern(2)]);
}

#[test]
fn p20_a_file_may_be_mapped_and_unmapped_many_times() {
    own_process!();
    let file = TestFile::new(2 * page() + 7);
    for round in 0..500usize {
        let map = Map::shared(&file, 2 * page() + 7);
        let at = round * 37 % (2 * page() + 7);
        map.set(at, round as u8);
        map.unmap();
        assert_eq!(file.stored_byte(at), round as u8, "round {round}");
    }
}
