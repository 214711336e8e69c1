//! P17: anonymous maps.

use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED};
use mapback_conformance::calls::{mmap, msync, munmap};
use mapback_conformance::map::{RW, get, set};
#[cfg(unix)]
use mapback_conformance::process::fork;
use mapback_conformance::{Map, TestFile, own_process, page};

#[test]
fn p17_anonymous_memory_is_zero() {
    own_process!();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(3 * page(), RW, flags | MAP_ANONYMOUS, -1, 0).unwrap();
        assert_eq!(map.bytes(0, 3 * page()), vec![0; 3 * page()]);
        map.set(page(), 1);
        assert_eq!(map.get(page()), 1);
        msync(map.addr(), 3 * page(), libc::MS_SYNC).unwrap();
    }
}

#[test]
fn p17_a_descriptor_beside_map_anonymous_is_ignored() {
    own_process!();
    let file = TestFile::new(page());
    for fd in [file.fd(), 12345] {
        let addr = mmap(0, page(), RW, MAP_PRIVATE | MAP_ANONYMOUS, fd, 0).unwrap();
        assert_eq!(get(addr), 0);
        set(addr, 0xee);
        munmap(addr, page()).unwrap();
    }
    assert_ne!(file.stored_byte(0), 0xee);
}

#[cfg(unix)] // fork, /dev/zero
#[test]
fn p17_the_type_of_map_survives_fork() {
    own_process!();
    let shared = Map::new(page(), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0).unwrap();
    let private = Map::new(page(), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0).unwrap();
    shared.set(0, 1);
    private.set(0, 1);
    fork(|| {
        let inherited = shared.get(0) == 1 && private.get(0) == 1;
        shared.set(0, 2);
        private.set(0, 2);
        inherited
    })
    .assert_good();
    assert_eq!(shared.get(0), 2);
    assert_eq!(private.get(0), 1);
}

#[cfg(unix)] // fork, /dev/zero
#[test]
fn p17_dev_zero_is_anonymous_memory() {
    own_process!();
    let zero = mapback_conformance::file::open(std::path::Path::new("/dev/zero"), libc::O_RDWR);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&zero);
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(2 * page(), RW, flags, fd, 0).unwrap();
        assert_eq!(map.bytes(0, 2 * page()), vec![0; 2 * page()]);
        map.set(page(), 7);
        assert_eq!(
            Map::new(2 * page(), RW, flags, fd, 0).unwrap().get(page()),
            0,
            "each map is memory of its own"
        );
        fork(|| {
            map.set(page(), 8);
            true
        })
        .assert_good();
        assert_eq!(map.get(page()), if flags == MAP_SHARED { 8 } else { 7 });
    }
}
