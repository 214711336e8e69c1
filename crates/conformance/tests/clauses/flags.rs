//! L4: Linux's flags of `mmap`.

use libc::{
    MAP_GROWSDOWN, MAP_HUGETLB, MAP_LOCKED, MAP_NONBLOCK, MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE,
    MAP_SHARED, MAP_SHARED_VALIDATE, MAP_STACK, MAP_SYNC,
};
use mapback_conformance::calls::assert_errno;
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::{Map, TestFile, own_process, page};

const HARMLESS: [i32; 7] = [
    MAP_POPULATE,
    MAP_NORESERVE,
    MAP_LOCKED,
    MAP_STACK,
    MAP_NONBLOCK,
    libc::MAP_DENYWRITE,
    libc::MAP_EXECUTABLE,
];

/// A flag that no kernel knows.
const UNKNOWN: i32 = 0x20_0000;

#[track_caller]
fn assert_works(flags: i32, shared: bool) {
    let file = TestFile::new(2 * page() + 5);
    let map = Map::new(2 * page() + 5, RW, flags, file.fd(), 0)
        .unwrap_or_else(|error| panic!("flags {flags:#x}: {error:?}"));
    assert_eq!(map.get(page()), pattern(page()), "flags {flags:#x}");
    map.set(page(), 0xab);
    map.unmap();
    let expected = if shared { 0xab } else { pattern(page()) };
    assert_eq!(file.stored_byte(page()), expected, "flags {flags:#x}");
}

#[test]
fn l04_harmless_flags_work() {
    own_process!();
    for flag in HARMLESS {
        assert_works(MAP_SHARED | flag, true);
        assert_works(MAP_PRIVATE | flag, false);
        assert_works(MAP_SHARED_VALIDATE | flag, true);
    }
    assert_works(MAP_SHARED_VALIDATE, true);
}

#[test]
fn l04_an_unknown_flag_is_ignored_by_map_shared_and_map_private() {
    own_process!();
    assert_works(MAP_SHARED | UNKNOWN, true);
    assert_works(MAP_PRIVATE | UNKNOWN, false);
}

#[test]
fn l04_map_shared_validate_refuses_unknown_flags_with_eopnotsupp() {
    own_process!();
    let file = TestFile::new(page());
    for flag in [UNKNOWN, MAP_SYNC, UNKNOWN | MAP_POPULATE] {
        let result = Map::new(page(), RW, MAP_SHARED_VALIDATE | flag, file.fd(), 0);
        assert_errno(result, libc::EOPNOTSUPP);
    }
}

#[test]
fn l04_flags_that_make_no_sense_for_a_file_are_einval() {
    own_process!();
    let file = TestFile::new(page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        assert_errno(Map::new(page(), RW, flags | MAP_GROWSDOWN, file.fd(), 0), libc::EINVAL);
        assert_errno(Map::new(page(), RW, flags | MAP_HUGETLB, file.fd(), 0), libc::EINVAL);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn l04_map_32bit_places_the_map_low() {
    own_process!();
    let file = TestFile::new(page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(page(), RW, flags | libc::MAP_32BIT, file.fd(), 0).unwrap();
        assert!(map.addr() < 1 << 31, "at {:#x}", map.addr());
        assert_eq!(map.get(0), pattern(0));
    }
}

#[test]
fn l04_a_populated_map_is_resident() {
    own_process!();
    let file = TestFile::new(8 * page());
    let map = Map::new(8 * page(), RW, MAP_SHARED | MAP_POPULATE, file.fd(), 0).unwrap();
    assert_eq!(mapback_conformance::calls::mincore(map.addr(), 8 * page()), Ok(vec![true; 8]));
}
