//! Errors that calls return.

use std::os::fd::AsRawFd;

use libc::{MAP_FIXED, MAP_PRIVATE, MAP_SHARED, MS_SYNC};
use mapback_conformance::calls::{assert_errno, kernel, mmap, msync};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::{Map, TestFile, page, split_under_mapback};

use crate::Faulty;

macro_rules! own_process_under_mapback {
    () => {
        if let Some(ended) = split_under_mapback!() {
            return ended.assert_passed();
        }
    };
}

#[test]
fn p25_the_kernel_refuses_shared_maps_here_and_mapback_serves_them() {
    own_process_under_mapback!();
    let faulty = Faulty::new();
    let file = faulty.file("file", &vec![1; 2 * page()]);
    assert_errno(kernel::mmap(0, page(), RW, MAP_SHARED, file.fd(), 0), libc::ENODEV);
    let map = Map::shared(&file, 2 * page());
    let private = Map::new(page(), RW, MAP_PRIVATE, file.fd(), 0).expect("a private map");
    map.set(page(), 2);
    private.set(0, 3);
    map.unmap();
    assert_eq!((file.stored_byte(0), file.stored_byte(page())), (1, 2));
}

#[test]
fn p25_auto_leaves_to_the_kernel_what_it_maps_itself() {
    own_process_under_mapback!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line =
        maps.lines().find(|line| line.starts_with(&format!("{:x}-", map.addr()))).expect("the map's line");
    assert!(line.ends_with(file.path().to_str().unwrap()), "not the kernel's map of the file: {line}");
}

#[test]
fn p25_msync_returns_the_error_and_the_pages_stay_changed() {
    own_process_under_mapback!();
    let faulty = Faulty::new();
    for (name, errno) in [("ENOSPC", libc::ENOSPC), ("EIO", libc::EIO), ("EDQUOT", libc::EDQUOT)] {
        let file = faulty.file(name, &vec![1; 8 * page()]);
        let map = Map::shared(&file, 8 * page());
        map.set(0, 2);
        map.set(5 * page(), 3);
        faulty.fail(name, 0);
        for _ in 0..3 {
            assert_errno(msync(map.addr(), map.len(), MS_SYNC), errno);
        }
        assert_eq!((map.get(0), map.get(5 * page())), (2, 3), "{name}: the map keeps the stores");
        assert_eq!(
            (file.stored_byte(0), file.stored_byte(5 * page())),
            (1, 1),
            "{name}: nothing was written"
        );
        map.set(6 * page(), 4);
        faulty.heal();
        map.sync();
        assert_eq!((file.stored_byte(0), file.stored_byte(5 * page())), (2, 3), "{name}: written now");
        assert_eq!(file.stored_byte(6 * page()), 4, "{name}: what was stored in between");
    }
}

#[test]
fn p25_a_write_that_fails_half_way_is_taken_up_again() {
    own_process_under_mapback!();
    let faulty = Faulty::new();
    let pages = 64;
    let file = faulty.file("file", &vec![1; pages * page()]);
    let map = Map::shared(&file, pages * page());
    for (value, after) in (2..).zip([1, 100, page(), 3 * page() + 17, 20 * page()]) {
        for at in (0..pages).filter(|at| at % 4 != 3) {
            map.put(at * page(), &vec![value; page()]);
        }
        faulty.fail("ENOSPC", after);
        assert_errno(msync(map.addr(), map.len(), MS_SYNC), libc::ENOSPC);
        faulty.heal();
        map.sync();
        for at in 0..pages {
            let expected = if at % 4 == 3 { 1 } else { value };
            assert_eq!(
                file.stored(at * page(), page()),
                vec![expected; page()],
                "after {after} bytes, page {at}"
            );
        }
    }
    assert_eq!(file.len(), pages * page());
}

#[test]
fn p25_fsync_returns_the_error_as_well() {
    own_process_under_mapback!();
    let faulty = Faulty::new();
    let file = faulty.file("file", &vec![1; page()]);
    let map = Map::shared(&file, page());
    map.set(0, 2);
    faulty.fail("EIO", 0);
    // SAFETY: no memory is passed.
    let fsync = || unsafe { libc::fsync(file.file().as_raw_fd()) };
    assert_eq!(fsync(), -1);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EIO));
    faulty.heal();
    assert_eq!(fsync(), 0);
    assert_eq!(file.stored_byte(0), 2);
}

#[test]
fn p25_one_files_error_does_not_keep_anothers_changes_back() {
    own_process_under_mapback!();
    let faulty = Faulty::new();
    let (bad, good) = (faulty.file("bad", &vec![1; page()]), TestFile::new(page()));
    let room = Map::anonymous(2 * page(), RW);
    mmap(room.addr(), page(), RW, MAP_SHARED | MAP_FIXED, bad.fd(), 0).unwrap();
    mmap(room.at(page()), page(), RW, MAP_SHARED | MAP_FIXED, good.fd(), 0).unwrap();
    room.set(0, 2);
    room.set(page(), 2);
    faulty.fail("EIO", 0);
    assert_errno(msync(room.addr(), 2 * page(), MS_SYNC), libc::EIO);
    faulty.heal();
    room.sync();
    assert_eq!((bad.stored_byte(0), good.stored_byte(0)), (2, 2));
}

#[test]
fn p25_stores_and_other_maps_go_on_while_the_storage_fails() {
    own_process_under_mapback!();
    let faulty = Faulty::new();
    let file = faulty.file("file", &vec![1; 4 * page()]);
    let map = Map::shared(&file, 4 * page());
    faulty.fail("ENOSPC", 0);
    for round in 2..6 {
        map.set(0, round);
        assert_errno(msync(map.addr(), map.len(), MS_SYNC), libc::ENOSPC);
        let second = Map::shared(&file, 4 * page());
        assert_eq!(second.get(0), round);
        map.protect(page(), page(), libc::PROT_READ).unwrap();
        assert_eq!(map.get(page()), 1);
        map.protect(page(), page(), RW).unwrap();
    }
    let other = TestFile::new(page());
    let elsewhere = Map::shared(&other, page());
    elsewhere.set(0, 9);
    elsewhere.unmap();
    assert_eq!((other.stored_byte(0), other.stored_byte(1)), (9, pattern(1)));
    faulty.heal();
    map.sync();
    assert_eq!(file.stored_byte(0), 5);
}
