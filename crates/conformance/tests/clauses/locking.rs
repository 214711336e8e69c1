//! L8: `mincore`, `mlock` and its family.

use libc::{MAP_PRIVATE, MAP_SHARED};
use mapback_conformance::calls::{assert_errno, mincore, mlock, mlock2, munlock, munmap};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::{Map, TestFile, own_process, page};

#[test]
fn l08_mincore_shows_pages_that_were_touched() {
    own_process!();
    let file = TestFile::new(5 * page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(5 * page(), RW, flags, file.fd(), 0).unwrap();
        for at in 0..5 {
            assert_eq!(map.get(at * page()), pattern(at * page()));
        }
        assert_eq!(mincore(map.addr(), 5 * page()), Ok(vec![true; 5]));
        assert_eq!(
            mincore(map.at(page()), page() + 1),
            Ok(vec![true; 2]),
            "a length counts up to whole pages"
        );
        assert_eq!(mincore(map.addr(), 0), Ok(vec![]));
    }
}

#[test]
fn l08_mincore_of_a_hole_is_enomem_and_of_a_misaligned_range_einval() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    assert_errno(mincore(map.addr() + 1, page()), libc::EINVAL);
    munmap(map.at(page()), page()).unwrap();
    assert_errno(mincore(map.addr(), 3 * page()), libc::ENOMEM);
    assert_errno(mincore(map.at(page()), page()), libc::ENOMEM);
}

#[test]
fn l08_locked_maps_work_like_others() {
    own_process!();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let file = TestFile::new(3 * page());
        let map = Map::new(3 * page(), RW, flags, file.fd(), 0).unwrap();
        mlock(map.addr() + 1, page()).expect("mlock takes any address");
        mlock2(map.at(page()), page(), libc::MLOCK_ONFAULT).expect("MLOCK_ONFAULT");
        for round in 1..4 {
            for at in 0..3 {
                map.set(at * page(), round);
            }
            map.sync();
        }
        munlock(map.addr() + 1, 3 * page() - 1).unwrap();
        map.set(0, 4);
        map.unmap();
        assert_eq!(file.stored_byte(0), if flags == MAP_SHARED { 4 } else { pattern(0) });
        assert_eq!(file.stored_byte(2 * page()), if flags == MAP_SHARED { 3 } else { pattern(2 * page()) });
    }
}

#[test]
fn l08_locking_a_hole_is_enomem_and_an_unknown_flag_einval() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    assert_errno(mlock2(map.addr(), page(), 0x80), libc::EINVAL);
    munmap(map.at(page()), page()).unwrap();
    assert_errno(mlock(map.addr(), 3 * page()), libc::ENOMEM);
    assert_errno(mlock2(map.addr(), 3 * page(), 0), libc::ENOMEM);
    assert_errno(munlock(map.addr(), 3 * page()), libc::ENOMEM);
    assert_errno(munlock(map.at(page()), page()), libc::ENOMEM);
}

#[test]
fn l08_locking_pages_past_the_end_of_the_file_is_enomem() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, 3 * page());
    assert_errno(mlock(map.addr(), 3 * page()), libc::ENOMEM);
    map.set(0, 0x11);
    map.unmap();
    assert_eq!(file.stored_byte(0), 0x11);
}

#[test]
fn l08_mlockall_covers_maps_of_before_and_after() {
    own_process!();
    let file = TestFile::new(4 * page());
    let before = Map::shared(&file, 4 * page());
    before.set(0, 0x21);
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) }, 0);
    let after = Map::shared(&file, 4 * page());
    assert_eq!(after.get(0), 0x21);
    after.set(page(), 0x22);
    before.set(2 * page(), 0x23);
    before.sync();
    assert_eq!((file.stored_byte(page()), file.stored_byte(2 * page())), (0x22, 0x23));
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::munlockall() }, 0);
    after.set(3 * page(), 0x24);
    after.unmap();
    before.unmap();
    assert_eq!(file.stored_byte(3 * page()), 0x24);
}
