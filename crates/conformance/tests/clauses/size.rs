//! W3, W4: the mapped file is truncated, extended, renamed and deleted while it is mapped, and never changed in size
//! by a map. mapback looks at the length when `mmap` or `msync` is called.

use libc::{MAP_PRIVATE, MAP_SHARED, SIGBUS};
use mapback_conformance::calls::{assert_errno, ftruncate, mmap, munmap};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::process::{maps_are_alone, scratch};
use mapback_conformance::{Map, TestFile, own_process, page};

#[test]
fn w04_a_mapped_file_can_be_cut() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    map.set(1, 0x11);
    map.set(3 * page(), 0x12);
    ftruncate(file.fd(), page() as i64 + 10).unwrap();
    map.sync();
    assert_eq!(file.len(), page() + 10);
    assert_eq!(map.load(3 * page()).unwrap_err().signal, SIGBUS);
    assert_eq!(map.store(2 * page(), 1).unwrap_err().signal, SIGBUS);
    assert_eq!(map.bytes(page() + 9, 3), [pattern(page() + 9), 0, 0]);
    map.set(page() + 20, 0x13);
    map.unmap();
    assert_eq!(file.len(), page() + 10);
    assert_eq!(file.stored_byte(1), 0x11);
}

#[test]
fn w04_a_mapped_file_can_be_extended() {
    own_process!();
    let file = TestFile::new(100);
    let map = Map::shared(&file, 40 * page());
    map.set(200, 0xaa);
    assert_eq!(map.load(page()).unwrap_err().signal, SIGBUS);
    for pages in [1, 3, 39] {
        ftruncate(file.fd(), (pages * page()) as i64).unwrap();
        map.sync();
        assert_eq!(map.get(200), 0, "what was stored past the end is not in the file that grows");
        assert_eq!(map.load(pages * page() - 2), Ok(0));
        map.set(pages * page() - 1, pages as u8);
        assert_eq!(map.load(pages * page()).unwrap_err().signal, SIGBUS);
    }
    map.unmap();
    assert_eq!(file.len(), 39 * page());
    for pages in [1, 3, 39] {
        assert_eq!(file.stored_byte(pages * page() - 1), pages as u8);
    }
    assert_eq!(file.stored_byte(200), 0);
}

#[test]
fn w04_the_size_may_go_up_and_down() {
    own_process!();
    let file = TestFile::new(0);
    let map = Map::shared(&file, 16 * page());
    for round in 0..40usize {
        let len = round * 7919 % (16 * page() + 1);
        ftruncate(file.fd(), len as i64).unwrap();
        map.sync();
        for at in 0..16 {
            let accessible = at * page() < len;
            assert_eq!(map.store(at * page(), round as u8).is_ok(), accessible, "{len} bytes, page {at}");
        }
        map.sync();
        assert_eq!(file.len(), len);
        for at in (0..16).filter(|at| at * page() < len) {
            assert_eq!(file.stored_byte(at * page()), round as u8, "{len} bytes, page {at}");
        }
    }
}

/// The room for growth is bounded: twice the file's length when it was first mapped, and 64 MiB at the least.
#[test]
fn w04_a_file_that_outgrows_the_room_of_its_image() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    map.set(0, 1);
    let big = 65usize << 20;
    ftruncate(file.fd(), big as i64).unwrap();
    map.sync();
    assert_eq!(file.stored_byte(0), 1);
    let refused = if maps_are_alone() { libc::ENOTSUP } else { libc::ENOMEM };
    assert_errno(mmap(0, big, RW, MAP_SHARED, file.fd(), 0), refused);
    map.set(1, 3);
    map.unmap();
    assert_eq!(file.len(), big);
    let again = Map::shared(&file, big);
    assert_eq!((again.get(0), again.get(1)), (1, 3));
    again.set(big - 1, 2);
    again.unmap();
    assert_eq!(file.stored_byte(big - 1), 2);
}

#[test]
fn w04_a_mapped_file_can_be_renamed_and_deleted() {
    own_process!();
    let path = scratch().join("moving");
    let addr = {
        let file = TestFile::at(&path, &vec![7; page()]);
        mmap(0, page(), RW, MAP_SHARED, file.fd(), 0).unwrap()
    };
    let renamed = scratch().join("moved");
    std::fs::rename(&path, &renamed).unwrap();
    mapback_conformance::map::set(addr, 8);
    mapback_conformance::calls::msync(addr, page(), libc::MS_SYNC).unwrap();
    assert_eq!(std::fs::read(&renamed).unwrap()[0], 8);
    std::fs::remove_file(&renamed).unwrap();
    assert_eq!(mapback_conformance::map::get(addr), 8);
    mapback_conformance::map::set(addr, 9);
    munmap(addr, page()).unwrap();
}

#[test]
fn w04_no_map_changes_the_size() {
    own_process!();
    for len in [0, 1, page() - 1, page(), page() + 1, 16 * page(), 16 * page() + 1] {
        let file = TestFile::new(len);
        for flags in [MAP_SHARED, MAP_PRIVATE] {
            let map = Map::new(100 * page(), RW, flags, file.fd(), 0).unwrap();
            assert_eq!(file.len(), len);
            if len > 0 {
                map.set(len.next_multiple_of(page()) - 1, 1);
            }
            map.sync();
            assert_eq!(file.len(), len);
            map.unmap();
            assert_eq!(file.len(), len);
        }
    }
}
