//! W2, W5: addresses and offsets that Windows gives by the granule of 64 KiB, and what mapback makes of them.

use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, SIGSEGV};
use mapback_conformance::calls::{assert_errno, mmap, mprotect, munmap};
use mapback_conformance::file::pattern;
use mapback_conformance::map::{RW, get, set};
use mapback_conformance::process::maps_are_alone;
use mapback_conformance::{Map, TestFile, does_not_apply, own_process, page};

const GRANULE: usize = 65536;

#[test]
fn w02_file_offsets_are_multiples_of_a_page() {
    own_process!();
    let file = TestFile::new(40 * page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        for at in [1, 3, 15, 16, 17, 39] {
            let map = Map::new(page(), RW, flags, file.fd(), (at * page()) as i64).unwrap();
            assert_eq!(map.bytes(0, 9), (at * page()..at * page() + 9).map(pattern).collect::<Vec<_>>());
            map.set(9, 0x10 + at as u8 * 3);
            map.unmap();
            let expected = if flags == MAP_SHARED { 0x10 + at as u8 * 3 } else { pattern(at * page() + 9) };
            assert_eq!(file.stored_byte(at * page() + 9), expected);
            // Back to what it was.
            let map = Map::new(page(), RW, MAP_SHARED, file.fd(), (at * page()) as i64).unwrap();
            map.set(9, pattern(at * page() + 9));
        }
    }
}

#[test]
fn w05_private_maps_lie_at_any_page_of_private_memory() {
    own_process!();
    let file = TestFile::new(6 * page() + 5);
    let room = Map::anonymous(2 * GRANULE, PROT_NONE);
    for (at, from, pages) in [(1, 2, 3), (14, 0, 4), (2, 5, 2)] {
        let addr = room.at(at * page());
        let flags = MAP_PRIVATE | MAP_FIXED;
        assert_eq!(mmap(addr, pages * page(), RW, flags, file.fd(), (from * page()) as i64), Ok(addr));
        assert_eq!(get(addr + 3), pattern(from * page() + 3));
        set(addr, 1);
    }
    assert_eq!(room.load(page()), Ok(1), "the first map is still there, before the third");
    assert!(room.load(0).is_err() && room.load(5 * page()).is_err());
    assert_eq!(room.load(3 * page() + 5), Ok(0), "the rest of the last page");
    munmap(room.at(15 * page()), 2 * page()).unwrap();
    assert_eq!(room.load(14 * page()), Ok(1));
    assert_eq!(room.load(15 * page()).unwrap_err().signal, SIGSEGV);
    assert_eq!(room.load(17 * page()), Ok(pattern(3 * page())));
    assert_eq!(file.stored_all(), (0..6 * page() + 5).map(pattern).collect::<Vec<_>>());
}

#[test]
fn w05_a_shared_map_lies_at_whole_granules_of_reserved_memory() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a map lies where its file's image is");
    }
    let file = TestFile::new(3 * GRANULE);
    let room = Map::anonymous(4 * GRANULE, PROT_NONE);
    let addr = room.at(GRANULE);
    assert_eq!(mmap(addr, 2 * GRANULE, RW, MAP_SHARED | MAP_FIXED, file.fd(), GRANULE as i64), Ok(addr));
    assert_eq!(room.get(GRANULE + 7), pattern(GRANULE + 7));
    room.set(GRANULE, 1);
    assert!(room.load(0).is_err() && room.load(3 * GRANULE).is_err(), "what is around it is still reserved");
    mprotect(room.at(3 * GRANULE), page(), RW).unwrap();
    room.set(3 * GRANULE, 5);
    // A second one at the next granule, and the first replaced by another part of the file.
    assert_eq!(mmap(addr, 2 * GRANULE, RW, MAP_SHARED | MAP_FIXED, file.fd(), 0), Ok(addr));
    assert_eq!(file.stored_byte(GRANULE), 1, "written back when it was replaced");
    assert_eq!(room.get(2 * GRANULE), 1);
    room.set(GRANULE, 2);
    room.unmap();
    assert_eq!((file.stored_byte(0), file.stored_byte(GRANULE)), (2, 1));
}

#[test]
fn w05_what_the_system_cannot_give_is_enotsup_and_changes_nothing() {
    own_process!();
    let file = TestFile::new(4 * page());
    let other = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    map.set(page(), 1);
    for flags in [MAP_PRIVATE, MAP_SHARED, MAP_PRIVATE | MAP_ANONYMOUS] {
        // A part of a view cannot be given back.
        assert_errno(mmap(map.at(page()), page(), RW, flags | MAP_FIXED, other.fd(), 0), libc::ENOTSUP);
    }
    let mine = vec![7u8; 4 * GRANULE];
    let inside = (mine.as_ptr() as usize + GRANULE) & !(GRANULE - 1);
    assert_errno(mmap(inside, page(), RW, MAP_PRIVATE | MAP_FIXED, other.fd(), 0), libc::ENOTSUP);
    assert!(mine.iter().all(|byte| *byte == 7), "memory that is not of a map");
    assert_eq!(map.get(page()), 1);
    map.set(2 * page(), 2);
    map.unmap();
    assert_eq!((file.stored_byte(page()), file.stored_byte(2 * page())), (1, 2));
}

#[test]
fn w05_a_view_that_is_replaced_as_a_whole() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a map lies where its file's image is");
    }
    let (file, other) = (TestFile::new(3 * page()), TestFile::new(20 * page()));
    let map = Map::shared(&file, 3 * page());
    map.set(page(), 1);
    let fixed = |flags, len, from: usize| {
        mmap(map.addr(), len, RW, flags | MAP_FIXED, other.fd(), (from * page()) as i64)
    };
    assert_eq!(fixed(MAP_PRIVATE, 3 * page(), 1), Ok(map.addr()));
    assert_eq!(file.stored_byte(page()), 1);
    assert_eq!(map.get(0), pattern(page()));
    map.set(0, 2);
    assert_eq!(fixed(MAP_SHARED, 3 * page(), 16), Ok(map.addr()));
    assert_eq!(map.get(0), pattern(16 * page()));
    map.set(0, 3);
    assert_eq!(fixed(MAP_PRIVATE | MAP_ANONYMOUS, 3 * page(), 0), Ok(map.addr()));
    assert_eq!(map.get(0), 0);
    map.unmap();
    assert_eq!((other.stored_byte(page()), other.stored_byte(16 * page())), (pattern(page()), 3));
}

#[test]
fn w05_one_call_spans_several_maps() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a map lies where its file's image is");
    }
    let (one, two) = (TestFile::new(GRANULE), TestFile::new(GRANULE));
    let room = Map::anonymous(4 * GRANULE, PROT_NONE);
    let put = |at: usize, flags, file: &TestFile| {
        let addr = room.at(at * GRANULE);
        assert_eq!(mmap(addr, GRANULE, RW, flags | MAP_FIXED, file.fd(), 0), Ok(addr));
    };
    put(0, MAP_SHARED, &one);
    put(1, MAP_PRIVATE, &two);
    put(2, MAP_SHARED, &two);
    for at in 0..3 {
        room.set(at * GRANULE, 0x40 + at as u8);
        room.set((at + 1) * GRANULE - 1, 0x50 + at as u8);
    }
    room.sync();
    assert_eq!((one.stored_byte(0), two.stored_byte(0)), (0x40, 0x42));
    mprotect(room.at(GRANULE / 2), 2 * GRANULE, PROT_READ).unwrap();
    for (at, allowed) in
        [(0, true), (GRANULE - 1, false), (GRANULE, false), (2 * GRANULE, false), (3 * GRANULE - 1, true)]
    {
        assert_eq!(room.store(at, 0x61).is_ok(), allowed, "byte {at:#x}");
    }
    munmap(room.at(GRANULE / 2), 2 * GRANULE).unwrap();
    assert!(room.load(GRANULE / 2).is_err() && room.load(2 * GRANULE).is_err());
    assert_eq!(room.load(0), Ok(0x61));
    room.unmap();
    assert_eq!((one.stored_byte(0), two.stored_byte(GRANULE - 1)), (0x61, 0x61));
    assert_eq!(one.stored_byte(GRANULE - 1), 0x50);
}

#[test]
fn w05_memory_that_others_allocated_can_be_protected() {
    own_process!();
    let mine = vec![1u8; 4 * page()];
    let addr = (mine.as_ptr() as usize + page()) & !(page() - 1);
    mprotect(addr, page(), PROT_READ).unwrap();
    assert!(mapback_conformance::probe::store(addr, 2).is_err());
    mprotect(addr, page(), RW).unwrap();
    assert_eq!(mapback_conformance::probe::store(addr, 2), Ok(()));
    assert_eq!(munmap(addr, page()), Ok(()), "and is not ours to unmap");
    assert_eq!(get(addr), 2);
}
