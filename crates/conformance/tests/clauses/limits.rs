//! Limits of the system: address space, number of maps, descriptors.

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ};
use mapback_conformance::calls::{assert_errno, mmap, mprotect, msync, munmap};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::{Map, TestFile, own_process, page};

fn set_limit(resource: libc::__rlimit_resource_t, soft: u64) {
    // SAFETY: the struct lives through the calls.
    unsafe {
        let mut limit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        limit.rlim_cur = soft.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &limit), 0);
    }
}

fn address_space_used() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').next().unwrap().parse::<u64>().unwrap() * page() as u64
}

#[test]
fn p06_no_room_within_rlimit_as_is_enomem() {
    own_process!();
    const GIB: usize = 1 << 30;
    let (big, small) = (TestFile::sparse(GIB as u64), TestFile::new(4 * page()));
    set_limit(libc::RLIMIT_AS, address_space_used() + (256 << 20));
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        assert_errno(mmap(0, GIB, RW, flags, big.fd(), 0), libc::ENOMEM);
        let map = Map::new(4 * page(), RW, flags, small.fd(), 0).expect("a small map has room");
        assert_eq!(map.get(page()), pattern(page()));
        map.set(page(), pattern(page()));
        map.sync();
    }
    set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
    let map = Map::shared(&big, GIB);
    map.set(GIB - 1, 1);
    map.unmap();
    assert_eq!(big.stored_byte(GIB - 1), 1);
}

#[test]
fn p06_a_program_without_free_descriptors_can_still_map() {
    own_process!();
    let files: Vec<TestFile> = (0..4).map(|_| TestFile::new(2 * page())).collect();
    // SAFETY: duplicates only fill the table, until the test's process ends.
    while unsafe { libc::dup(files[0].fd()) } >= 0 {
        let used = files[0].fd() as u64;
        set_limit(libc::RLIMIT_NOFILE, used + 20);
    }
    for (value, file) in (1..).zip(&files) {
        let map = Map::shared(file, 2 * page());
        map.set(page(), value);
        map.unmap();
        assert_eq!(file.stored_byte(page()), value);
    }
}

/// A sparse file that the kernel keeps page by page: with large folios, a store makes it write hundreds of pages.
fn sparse_by_pages(pages: usize) -> TestFile {
    let file = TestFile::sparse((pages * page()) as u64);
    // SAFETY: no memory is passed.
    unsafe { libc::posix_fadvise(file.fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
    file
}

/// As many regions as the system allows, and a few more than that.
fn regions() -> usize {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    text.trim().parse::<usize>().unwrap() + 5000
}

#[test]
fn p06_mprotect_until_the_number_of_regions_runs_out_loses_nothing() {
    own_process!();
    let pages = regions();
    let file = sparse_by_pages(pages);
    let map = Map::shared(&file, pages * page());
    let stored_into = || (0..1000).chain((1000..pages).step_by(499));
    for at in stored_into() {
        map.set(at * page(), at as u8 | 1);
    }
    let mut protected = 0;
    for at in (0..pages).step_by(2) {
        match mprotect(map.at(at * page()), page(), PROT_READ) {
            Ok(()) => protected += 1,
            Err(error) => {
                assert_eq!(error.0, libc::ENOMEM);
                break;
            }
        }
    }
    assert!(protected > 1000, "only {protected} pages could be protected");
    for at in (0..1000).step_by(2) {
        assert!(map.store(at * page(), 0).is_err(), "page {at}");
        assert_eq!(map.store((at + 1) * page() + 1, 7), Ok(()), "page {at}");
    }
    // Not the whole: the kernel would flush the file once for each region.
    msync(map.addr(), 10 * page(), libc::MS_SYNC).unwrap();
    assert_eq!(file.stored_byte(5 * page() + 1), 7);
    map.unmap();
    for at in stored_into() {
        assert_eq!(file.stored_byte(at * page()), at as u8 | 1, "page {at}");
    }
    assert_eq!(file.stored_byte(page() + 1), 7);
}

#[test]
fn p06_stores_into_every_other_page_of_a_big_map_are_kept() {
    own_process!();
    // A tracker that protects page by page meets the limit on regions although the program protects nothing.
    let pages = regions();
    let file = sparse_by_pages(pages);
    let map = Map::shared(&file, pages * page());
    for at in (0..pages).step_by(2) {
        map.set(at * page(), at as u8 | 1);
    }
    map.sync();
    for at in (0..pages).step_by(499) {
        map.set(at * page() + 1, 3);
    }
    map.unmap();
    for at in (0..pages).step_by(2) {
        assert_eq!(file.stored_byte(at * page()), at as u8 | 1, "page {at}");
    }
    for at in (0..pages).step_by(499) {
        assert_eq!(file.stored_byte(at * page() + 1), 3, "page {at}");
    }
}

#[test]
fn p06_mmap_with_no_region_left_is_enomem() {
    own_process!();
    let file = TestFile::new(4 * page());
    let before = Map::shared(&file, 4 * page());
    before.set(0, 0x11);
    let pages = regions();
    let room = Map::anonymous(pages * page(), PROT_NONE);
    let mut at = 0;
    while mprotect(room.at(at * page()), page(), PROT_READ).is_ok() {
        at += 2;
    }
    let mut refused = false;
    for _ in 0..10 {
        // A neighbour of the same kind may merge with the map and need no region of its own.
        match mmap(0, page(), RW, MAP_SHARED, file.fd(), 0) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.0, libc::ENOMEM);
                refused = true;
            }
        }
    }
    assert!(refused, "ten maps more than the system allows");
    before.set(page(), 0x12);
    before.sync();
    munmap(room.addr(), room.len()).unwrap();
    room.leak();
    assert_eq!((file.stored_byte(0), file.stored_byte(page())), (0x11, 0x12));
    assert_eq!(Map::shared(&file, page()).get(0), 0x11);
}
