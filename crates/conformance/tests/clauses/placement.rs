//! P8, P9 and MAP_FIXED_NOREPLACE of L4: where maps come to lie.

use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE, MAP_SHARED, PROT_READ};
use mapback_conformance::calls::{assert_errno, mmap, mprotect, munmap};
use mapback_conformance::file::pattern;
use mapback_conformance::map::{RW, get, set};
use mapback_conformance::{Map, TestFile, own_process, page};

#[test]
fn p08_maps_are_whole_pages_at_page_boundaries() {
    own_process!();
    let file = TestFile::new(3 * page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(page() + 1, PROT_READ, flags, file.fd(), 0).unwrap();
        assert_eq!(map.addr() % page(), 0);
        assert_ne!(map.addr(), 0);
        assert_eq!(map.get(2 * page() - 1), pattern(2 * page() - 1), "the whole last page is mapped");
    }
}

#[test]
fn p08_a_hint_never_replaces_a_map() {
    own_process!();
    let file = TestFile::new(page());
    let other = TestFile::with(&vec![0x55; page()]);
    let first = Map::shared(&file, page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let second = mmap(first.addr(), page(), PROT_READ, flags, other.fd(), 0).unwrap();
        assert_ne!(second, first.addr());
        assert_eq!(get(second), 0x55);
        assert_eq!(first.get(0), pattern(0));
        munmap(second, page()).unwrap();
    }
}

#[cfg(unix)] // W5: shared maps come by the granule, see granules.rs
#[test]
fn p08_a_free_hint_is_taken() {
    own_process!();
    let file = TestFile::new(page());
    let room = Map::anonymous(4 * page(), PROT_READ);
    let free = room.at(page());
    munmap(free, page()).unwrap();
    assert_eq!(mmap(free, page(), PROT_READ, MAP_SHARED, file.fd(), 0), Ok(free));
    assert_eq!(get(free + 1), pattern(1));
}

#[cfg(unix)] // W5: shared maps come by the granule, see granules.rs
#[test]
fn p09_map_fixed_over_a_file_map_writes_its_changes_back() {
    own_process!();
    let file = TestFile::new(4 * page());
    let other = TestFile::with(&vec![0x77; 4 * page()]);
    let map = Map::shared(&file, 4 * page());
    for at in 0..4 {
        map.set(at * page(), 0xe0 + at as u8);
    }
    let over = mmap(map.at(page()), 2 * page(), RW, MAP_SHARED | MAP_FIXED, other.fd(), 0);
    assert_eq!(over, Ok(map.at(page())));
    assert_eq!(map.get(page()), 0x77);
    assert_eq!(file.stored_byte(page()), 0xe1, "the replaced part is in the file at once");
    assert_eq!(file.stored_byte(2 * page()), 0xe2);
    map.set(page() + 1, 0x78);
    map.set(3 * page() + 1, 0xf3);
    map.unmap();
    assert_eq!(file.stored(0, 1), [0xe0]);
    assert_eq!(file.stored(3 * page(), 2), [0xe3, 0xf3]);
    assert_eq!(
        file.stored_byte(page() + 1),
        pattern(page() + 1),
        "a store after the replacement is the other file's"
    );
    assert_eq!(other.stored(0, 3), [0x77, 0x78, 0x77]);
}

#[cfg(unix)] // W5: shared maps come by the granule, see granules.rs
#[test]
fn p09_map_fixed_anonymous_memory_over_a_file_map() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    map.set(page(), 0xaa);
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    assert_eq!(mmap(map.at(page()), page(), RW, flags, -1, 0), Ok(map.at(page())));
    assert_eq!(map.bytes(page(), page()), vec![0; page()]);
    assert_eq!(file.stored_byte(page()), 0xaa);
    map.set(page(), 0xbb);
    map.unmap();
    assert_eq!(file.stored_byte(page()), 0xaa);
}

#[cfg(unix)] // W5: shared maps come by the granule, see granules.rs
#[test]
fn p09_map_fixed_over_anonymous_memory_and_its_own_file() {
    own_process!();
    let file = TestFile::new(2 * page());
    let room = Map::anonymous(3 * page(), RW);
    room.set(2 * page(), 9);
    for _ in 0..3 {
        let flags = MAP_SHARED | MAP_FIXED;
        assert_eq!(mmap(room.addr(), 2 * page(), RW, flags, file.fd(), 0), Ok(room.addr()));
        room.set(0, room.get(0).wrapping_add(1));
    }
    assert_eq!(
        room.get(0),
        pattern(0) + 3,
        "each new map shows what was stored through the one that it replaced"
    );
    assert_eq!(room.get(2 * page()), 9, "memory beyond is left alone");
    room.unmap();
    assert_eq!(file.stored_byte(0), pattern(0) + 3);
}

#[test]
fn p09_a_refused_map_fixed_leaves_what_was_there() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    map.set(0, 0xcc);
    let read_only = file.open(libc::O_RDONLY);
    let fd = mapback_conformance::fd::AsRawFd::as_raw_fd(&read_only);
    assert_errno(mmap(map.addr(), page(), RW, MAP_SHARED | MAP_FIXED, fd, 0), libc::EACCES);
    assert_eq!(map.get(0), 0xcc);
    map.set(1, 0xcd);
    map.unmap();
    assert_eq!(file.stored(0, 2), [0xcc, 0xcd]);
}

#[cfg(unix)] // W5: shared maps come by the granule, see granules.rs
#[test]
fn p09_maps_laid_out_as_a_loader_does() {
    own_process!();
    // Reserve by a private map of the whole file, then put parts of it at their places: what a run-time linker does.
    let file = TestFile::new(6 * page());
    let room = Map::new(8 * page(), libc::PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0).unwrap();
    let part = |at: usize, from: usize, prot, flags| {
        let addr = room.at(at * page());
        let result = mmap(addr, 2 * page(), prot, flags | MAP_FIXED, file.fd(), (from * page()) as i64);
        assert_eq!(result, Ok(addr));
    };
    part(0, 4, PROT_READ, MAP_PRIVATE);
    part(2, 2, RW, MAP_PRIVATE);
    part(4, 0, RW, MAP_SHARED);
    assert_eq!(room.get(0), pattern(4 * page()));
    assert_eq!(room.get(2 * page()), pattern(2 * page()));
    room.set(2 * page(), 1);
    room.set(4 * page(), 2);
    mprotect(room.at(2 * page()), page(), PROT_READ).unwrap();
    assert!(room.load(6 * page()).is_err());
    room.unmap();
    assert_eq!(file.stored_byte(2 * page()), pattern(2 * page()));
    assert_eq!(file.stored_byte(0), 2);
}

#[test]
fn l04_map_fixed_noreplace_is_eexist_where_something_is() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(page(), 0xdd);
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let flags = flags | MAP_FIXED_NOREPLACE;
        assert_errno(mmap(map.addr(), page(), RW, flags, file.fd(), 0), libc::EEXIST);
        assert_errno(mmap(map.at(page()), 2 * page(), RW, flags, file.fd(), 0), libc::EEXIST);
        let stack = &flags as *const i32 as usize & !(page() - 1);
        assert_errno(mmap(stack, page(), RW, flags, file.fd(), 0), libc::EEXIST);
    }
    assert_eq!(map.get(page()), 0xdd);
}

#[cfg(unix)] // W5: shared maps come by the granule, see granules.rs
#[test]
fn l04_map_fixed_noreplace_takes_a_free_range() {
    own_process!();
    let file = TestFile::new(2 * page());
    let room = Map::anonymous(4 * page(), PROT_READ);
    let free = room.at(page());
    munmap(free, 2 * page()).unwrap();
    let flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
    assert_eq!(mmap(free, 2 * page(), RW, flags, file.fd(), 0), Ok(free));
    set(free, 0x11);
    munmap(free, 2 * page()).unwrap();
    assert_eq!(file.stored_byte(0), 0x11);
}
