//! P21, P22, P24: `msync`.

use libc::{MAP_PRIVATE, MAP_SHARED, MS_ASYNC, MS_INVALIDATE, MS_SYNC, PROT_READ};
use mapback_conformance::calls::{assert_errno, kernel, mlock, msync, munlock, munmap};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::process::tracked_as_whole;
use mapback_conformance::{Map, TestFile, does_not_apply, own_process, page};

#[test]
fn p21_unknown_or_contradicting_flags_are_einval() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    for flags in [MS_ASYNC | MS_SYNC, 8, 0x100, MS_SYNC | 8, -1] {
        assert_errno(msync(map.addr(), page(), flags), libc::EINVAL);
    }
    for flags in [0, MS_ASYNC, MS_SYNC, MS_INVALIDATE, MS_SYNC | MS_INVALIDATE, MS_ASYNC | MS_INVALIDATE] {
        assert_eq!(msync(map.addr(), page(), flags), Ok(()), "flags {flags}");
    }
}

#[test]
fn p21_a_misaligned_address_is_einval_and_nothing_is_no_error() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    assert_errno(msync(map.addr() + 1, 10, MS_SYNC), libc::EINVAL);
    assert_eq!(msync(map.addr(), 0, MS_SYNC), Ok(()));
    assert_errno(msync(map.addr(), usize::MAX & !(page() - 1), MS_SYNC), libc::ENOMEM);
}

#[test]
fn p21_a_hole_is_enomem_and_the_rest_is_written() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    map.set(0, 0x11);
    map.set(2 * page(), 0x12);
    munmap(map.at(page()), page()).unwrap();
    assert_errno(msync(map.addr(), 3 * page(), MS_SYNC), libc::ENOMEM);
    assert_errno(msync(map.at(page()), page(), MS_SYNC), libc::ENOMEM);
    assert_errno(msync(map.addr(), 3 * page(), MS_ASYNC), libc::ENOMEM);
    assert_eq!(file.stored_byte(0), 0x11);
    assert_eq!(file.stored_byte(2 * page()), 0x12);
}

#[test]
fn p21_ms_invalidate_on_a_locked_page_is_ebusy() {
    own_process!();
    let file = TestFile::new(2 * page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(2 * page(), RW, flags, file.fd(), 0).unwrap();
        mlock(map.at(page()), page()).unwrap();
        assert_errno(msync(map.addr(), 2 * page(), MS_SYNC | MS_INVALIDATE), libc::EBUSY);
        assert_errno(msync(map.at(page()), page(), MS_INVALIDATE), libc::EBUSY);
        assert_eq!(msync(map.addr(), page(), MS_SYNC | MS_INVALIDATE), Ok(()));
        assert_eq!(msync(map.addr(), 2 * page(), MS_SYNC), Ok(()));
        munlock(map.at(page()), page()).unwrap();
        assert_eq!(msync(map.addr(), 2 * page(), MS_SYNC | MS_INVALIDATE), Ok(()));
    }
}

#[test]
fn p22_ms_sync_returns_when_the_file_has_the_bytes() {
    own_process!();
    let file = TestFile::new(16 * page());
    let map = Map::shared(&file, 16 * page());
    for at in 0..16 {
        map.set(at * page(), 0x20 + at as u8);
    }
    msync(map.at(4 * page()), 3 * page(), MS_SYNC).unwrap();
    for at in 4..7 {
        assert_eq!(file.stored_byte(at * page()), 0x20 + at as u8);
    }
    map.sync();
    for at in 0..16 {
        assert_eq!(file.stored_byte(at * page()), 0x20 + at as u8);
    }
}

#[test]
fn p22_ms_async_loses_nothing() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    map.set(0, 0x31);
    msync(map.addr(), 4 * page(), MS_ASYNC).unwrap();
    map.set(page(), 0x32);
    msync(map.addr(), 4 * page(), MS_ASYNC).unwrap();
    map.set(0, 0x33);
    map.sync();
    assert_eq!(file.stored_byte(0), 0x33);
    assert_eq!(file.stored_byte(page()), 0x32);
    map.set(2 * page(), 0x34);
    msync(map.addr(), 4 * page(), MS_ASYNC).unwrap();
    map.unmap();
    assert_eq!(file.stored_byte(2 * page()), 0x34);
}

#[cfg(unix)] // W5, see granules.rs
#[test]
fn p22_one_msync_covers_maps_of_several_files() {
    own_process!();
    let (one, two) = (TestFile::new(page()), TestFile::new(page()));
    let room = Map::anonymous(3 * page(), RW);
    let fixed = MAP_SHARED | libc::MAP_FIXED;
    mapback_conformance::calls::mmap(room.addr(), page(), RW, fixed, one.fd(), 0).unwrap();
    mapback_conformance::calls::mmap(room.at(2 * page()), page(), RW, fixed, two.fd(), 0).unwrap();
    for at in 0..3 {
        room.set(at * page(), 0x41 + at as u8);
    }
    room.sync();
    assert_eq!(one.stored_byte(0), 0x41);
    assert_eq!(two.stored_byte(0), 0x43);
}

#[test]
fn p22_a_map_that_only_reads_can_be_synced() {
    own_process!();
    let file = TestFile::new(page());
    let reader = Map::new(page(), PROT_READ, MAP_SHARED, file.fd(), 0).unwrap();
    reader.sync();
    assert_eq!(reader.get(0), pattern(0));
    assert_eq!(file.stored_byte(0), pattern(0));
}

#[test]
fn p24_ms_invalidate_shows_what_the_file_holds_now() {
    own_process!();
    if tracked_as_whole() {
        return does_not_apply(
            "P24: to `whole` every page is the program's own change, which the file must not replace",
        );
    }
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    let private = Map::private(&file, 4 * page());
    assert_eq!(map.get(2 * page()), pattern(2 * page()));
    private.set(0, 0x50);
    // Past any interposer, as another program would write.
    kernel::pwrite(file.fd(), &[0x51; 100], 2 * page() as i64).unwrap();
    kernel::pwrite(file.fd(), &[0x52], 0).unwrap();
    msync(map.addr(), 4 * page(), MS_SYNC | MS_INVALIDATE).unwrap();
    assert_eq!(map.bytes(2 * page() + 99, 2), [0x51, pattern(2 * page() + 100)]);
    assert_eq!(map.get(0), 0x52);
    msync(private.addr(), 4 * page(), MS_INVALIDATE).unwrap();
    assert_eq!(private.get(0), 0x50, "a page that is private already stays so");
    map.set(2 * page(), 0x53);
    map.unmap();
    assert_eq!(file.stored(2 * page(), 2), [0x53, 0x51]);
}

#[test]
fn p24_ms_invalidate_keeps_the_programs_own_changes() {
    own_process!();
    if tracked_as_whole() {
        return does_not_apply(
            "P24: to `whole` every page is the program's own change, which the file must not replace",
        );
    }
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(0, 0x61);
    kernel::pwrite(file.fd(), &[0x62], page() as i64).unwrap();
    msync(map.addr(), 2 * page(), MS_SYNC | MS_INVALIDATE).unwrap();
    assert_eq!(map.get(0), 0x61);
    assert_eq!(map.get(page()), 0x62);
    assert_eq!(file.stored_byte(0), 0x61);
}

/// So many runs that a store may write them in another way than a few; the last one ends where the file does.
#[test]
fn p22_thousands_of_scattered_pages_reach_the_file_and_its_length_stays() {
    own_process!();
    const PAGES: usize = 2500;
    let len = PAGES * page() - 1000;
    let file = TestFile::new(len);
    let map = Map::shared(&file, PAGES * page());
    for round in 1..4u8 {
        for at in (0..PAGES).step_by(2).chain([PAGES - 1]) {
            map.set(at * page() + usize::from(round), 0x40 + round);
        }
        map.sync();
        let stored = file.stored_all();
        assert_eq!(stored.len(), len);
        assert_eq!(stored, map.bytes(0, len), "round {round}");
    }
    assert_eq!(file.stored_byte((PAGES - 1) * page() + 3), 0x43);
}
