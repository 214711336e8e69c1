//! L5: `mremap`.

use libc::{MAP_FIXED, MAP_PRIVATE, MAP_SHARED, MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_NONE};
use mapback_conformance::calls::{assert_errno, ftruncate, mmap, mremap, munmap};
use mapback_conformance::file::pattern;
use mapback_conformance::map::{RW, get, set};
use mapback_conformance::probe;
use mapback_conformance::{Map, TestFile, own_process, page};

/// A shared map of `pages` pages with `room` free pages after it.
fn with_room(file: &TestFile, pages: usize, room: usize) -> Map {
    let reserved = Map::anonymous((pages + room) * page(), PROT_NONE);
    let addr = reserved.addr();
    mmap(addr, pages * page(), RW, MAP_SHARED | MAP_FIXED, file.fd(), 0).unwrap();
    munmap(addr + pages * page(), room * page()).unwrap();
    reserved.leak();
    Map::adopt(addr, pages * page())
}

#[test]
fn l05_shrinking_writes_the_lost_part_back() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    for at in 0..4 {
        map.set(at * page(), 0x11 + at as u8);
    }
    assert_eq!(mremap(map.addr(), 4 * page(), 2 * page(), 0, 0), Ok(map.addr()));
    assert!(map.load(2 * page()).is_err());
    assert_eq!(file.stored_byte(3 * page()), 0x14);
    map.set(page() + 1, 0x15);
    map.unmap();
    assert_eq!(file.stored(page(), 2), [0x12, 0x15]);
}

#[test]
fn l05_growing_in_place() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = with_room(&file, 2, 2);
    map.set(0, 0x21);
    assert_eq!(mremap(map.addr(), 2 * page(), 4 * page(), 0, 0), Ok(map.addr()));
    assert_eq!(map.get(3 * page()), pattern(3 * page()));
    map.set(3 * page(), 0x22);
    munmap(map.addr(), 4 * page()).unwrap();
    assert_eq!(file.stored_byte(0), 0x21);
    assert_eq!(file.stored_byte(3 * page()), 0x22);
}

#[test]
fn l05_growing_without_room_or_leave_to_move_is_enomem() {
    own_process!();
    let file = TestFile::new(4 * page());
    let room = Map::anonymous(3 * page(), PROT_NONE);
    mmap(room.addr(), 2 * page(), RW, MAP_SHARED | MAP_FIXED, file.fd(), 0).unwrap();
    room.set(0, 0x31);
    assert_errno(mremap(room.addr(), 2 * page(), 4 * page(), 0, 0), libc::ENOMEM);
    assert_eq!(room.get(0), 0x31);
    room.unmap();
    assert_eq!(file.stored_byte(0), 0x31);
}

#[test]
fn l05_growing_by_moving() {
    own_process!();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let file = TestFile::new(8 * page());
        let room = Map::anonymous(3 * page(), PROT_NONE);
        mmap(room.addr(), 2 * page(), RW, flags | MAP_FIXED, file.fd(), 0).unwrap();
        room.set(page(), 0x41);
        let moved = mremap(room.addr(), 2 * page(), 8 * page(), MREMAP_MAYMOVE, 0).expect("moving");
        assert_ne!(moved, room.addr());
        assert!(room.load(0).is_err(), "the old place is free");
        assert!(room.load(page()).is_err());
        assert_eq!(get(moved + page()), 0x41);
        assert_eq!(get(moved + 7 * page()), pattern(7 * page()));
        set(moved + 7 * page(), 0x42);
        munmap(moved, 8 * page()).unwrap();
        let written = flags == MAP_SHARED;
        assert_eq!(file.stored_byte(page()), if written { 0x41 } else { pattern(page()) });
        assert_eq!(file.stored_byte(7 * page()), if written { 0x42 } else { pattern(7 * page()) });
    }
}

#[test]
fn l05_a_shared_map_may_grow_before_its_file() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(0, 0x51);
    let (old, _) = map.leak();
    let grown = mremap(old, 2 * page(), 6 * page(), MREMAP_MAYMOVE, 0).expect("growing");
    assert_eq!(probe::load(grown + 4 * page()).expect_err("past the end").signal, libc::SIGBUS);
    assert_eq!(file.len(), 2 * page());
    ftruncate(file.fd(), 6 * page() as i64).unwrap();
    assert_eq!(get(grown), 0x51);
    assert_eq!(get(grown + 4 * page()), 0);
    set(grown + 5 * page() + 1, 0x52);
    munmap(grown, 6 * page()).unwrap();
    assert_eq!(file.stored_byte(0), 0x51);
    assert_eq!(file.stored_byte(5 * page() + 1), 0x52);
}

#[test]
fn l05_grow_the_file_then_the_map_again_and_again() {
    own_process!();
    let file = TestFile::new(page());
    let (mut addr, mut pages) = (Map::shared(&file, page()).leak().0, 1);
    for round in 1..8u8 {
        ftruncate(file.fd(), (2 * pages * page()) as i64).unwrap();
        addr = mremap(addr, pages * page(), 2 * pages * page(), MREMAP_MAYMOVE, 0).expect("growing");
        pages *= 2;
        set(addr + (pages - 1) * page(), round);
    }
    for round in 1..8u8 {
        assert_eq!(get(addr + ((1 << round) - 1) * page()), round);
    }
    munmap(addr, pages * page()).unwrap();
    for round in 1..8u8 {
        assert_eq!(file.stored_byte(((1 << round) - 1) * page()), round);
    }
}

#[test]
fn l05_fixed_replaces_what_is_there() {
    own_process!();
    let (file, other) = (TestFile::new(2 * page()), TestFile::new(4 * page()));
    let map = Map::shared(&file, 2 * page());
    let target = Map::shared(&other, 4 * page());
    map.set(page(), 0x61);
    target.set(page(), 0x62);
    target.set(3 * page(), 0x63);
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    assert_eq!(mremap(map.addr(), 2 * page(), 2 * page(), flags, target.at(page())), Ok(target.at(page())));
    assert_eq!(other.stored_byte(page()), 0x62, "the replaced map's changes are in its file");
    assert_eq!(target.get(2 * page()), 0x61);
    assert!(map.load(0).is_err());
    target.set(page(), 0x64);
    map.leak();
    target.unmap();
    assert_eq!(file.stored_byte(0), 0x64);
    assert_eq!(file.stored_byte(page()), 0x61);
    assert_eq!(other.stored_byte(3 * page()), 0x63);
    assert_eq!(other.stored_byte(page()), 0x62);
}

#[test]
fn l05_a_part_of_a_map_may_move() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    for at in 0..4 {
        map.set(at * page(), 0x70 + at as u8);
    }
    let target = Map::anonymous(2 * page(), PROT_NONE);
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    assert_eq!(mremap(map.at(page()), 2 * page(), 2 * page(), flags, target.addr()), Ok(target.addr()));
    assert!(map.load(page()).is_err());
    assert_eq!((target.get(0), target.get(page())), (0x71, 0x72));
    target.set(1, 0x79);
    map.set(3 * page() + 1, 0x7a);
    target.sync();
    assert_eq!(file.stored(page(), 2), [0x71, 0x79]);
    map.unmap();
    target.unmap();
    assert_eq!(file.stored(3 * page(), 2), [0x73, 0x7a]);
}

#[test]
fn l05_bad_arguments_have_the_kernels_errno() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    let (addr, len) = (map.addr(), 4 * page());
    let fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
    assert_errno(mremap(addr + 1, page(), page(), 0, 0), libc::EINVAL);
    assert_errno(mremap(addr, len, 0, MREMAP_MAYMOVE, 0), libc::EINVAL);
    assert_errno(mremap(addr, len, len, 0x80, 0), libc::EINVAL);
    assert_errno(mremap(addr, len, len, MREMAP_FIXED, addr + 16 * page()), libc::EINVAL);
    assert_errno(mremap(addr, len, len, fixed, addr + page()), libc::EINVAL);
    assert_errno(mremap(addr, len, len, fixed, addr + 16 * page() + 1), libc::EINVAL);
    assert_errno(mremap(addr, len, 2 * len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0), libc::EINVAL);
    munmap(map.at(2 * page()), 2 * page()).unwrap();
    assert_errno(mremap(map.at(2 * page()), page(), 2 * page(), MREMAP_MAYMOVE, 0), libc::EFAULT);
    assert_errno(mremap(addr, 3 * page(), 8 * page(), MREMAP_MAYMOVE, 0), libc::EFAULT);
    let huge = mremap(addr, 2 * page(), 1 << 57, MREMAP_MAYMOVE, 0).expect_err("more than there is");
    assert!([libc::ENOMEM, libc::EINVAL].contains(&huge.0), "{huge:?}"); // by the kernel's version
    assert_eq!(map.get(page()), pattern(page()));
}

#[test]
fn l05_dontunmap_leaves_a_map_at_the_old_place() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(0, 0x81);
    let flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
    let moved =
        Map::adopt(mremap(map.addr(), 2 * page(), 2 * page(), flags, 0).expect("DONTUNMAP"), 2 * page());
    assert_ne!(moved.addr(), map.addr());
    assert_eq!((moved.get(0), map.get(0)), (0x81, 0x81), "both show the file");
    map.set(1, 0x82);
    moved.set(page(), 0x83);
    assert_eq!((moved.get(1), map.get(page())), (0x82, 0x83));
    map.unmap();
    moved.unmap();
    assert_eq!(file.stored(0, 2), [0x81, 0x82]);
    assert_eq!(file.stored_byte(page()), 0x83);
}

#[test]
fn l05_dontunmap_of_a_private_map_leaves_the_files_content() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::private(&file, page());
    map.set(0, 0x84);
    let flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
    let moved = Map::adopt(mremap(map.addr(), page(), page(), flags, 0).expect("DONTUNMAP"), page());
    assert_eq!(moved.get(0), 0x84);
    assert_eq!(map.get(0), pattern(0));
}

#[test]
fn l05_an_old_length_of_zero_maps_a_shared_map_once_more() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    map.set(page(), 0x91);
    let second = mremap(map.at(page()), 0, 2 * page(), MREMAP_MAYMOVE, 0).expect("a second map");
    let second = Map::adopt(second, 2 * page());
    assert_eq!(second.get(0), 0x91);
    second.set(page(), 0x92);
    assert_eq!(map.get(2 * page()), 0x92);
    map.unmap();
    second.unmap();
    assert_eq!(file.stored_byte(2 * page()), 0x92);
}

#[test]
fn l05_the_protection_moves_along() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(0, 0xa1);
    map.protect(0, 2 * page(), libc::PROT_READ).unwrap();
    let target = Map::anonymous(2 * page(), RW);
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    mremap(map.addr(), 2 * page(), 2 * page(), flags, target.addr()).unwrap();
    assert!(target.store(0, 1).is_err());
    target.protect(0, page(), RW).unwrap();
    target.set(1, 0xa2);
    assert!(target.store(page(), 1).is_err());
    map.leak();
    target.unmap();
    assert_eq!(file.stored(0, 2), [0xa1, 0xa2]);
}
