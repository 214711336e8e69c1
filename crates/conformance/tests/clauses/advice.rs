//! L8: `madvise`, `posix_madvise`.

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ};
use mapback_conformance::calls::{assert_errno, kernel, madvise, mlock, munmap, posix_madvise};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::{Map, TestFile, own_process, page};

/// Advice of recent kernels that the libc crate may lack.
const MADV_POPULATE_READ: i32 = 22;
const MADV_POPULATE_WRITE: i32 = 23;
const MADV_COLLAPSE: i32 = 25;

/// Hints: whatever the system makes of them, no byte may change.
const HINTS: [i32; 14] = [
    libc::MADV_NORMAL,
    libc::MADV_RANDOM,
    libc::MADV_SEQUENTIAL,
    libc::MADV_WILLNEED,
    libc::MADV_DONTDUMP,
    libc::MADV_DODUMP,
    libc::MADV_COLD,
    libc::MADV_PAGEOUT,
    libc::MADV_DOFORK,
    libc::MADV_NOHUGEPAGE,
    libc::MADV_HUGEPAGE,
    libc::MADV_MERGEABLE,
    libc::MADV_UNMERGEABLE,
    MADV_COLLAPSE,
];

#[test]
fn l08_hints_change_no_byte() {
    own_process!();
    for advice in HINTS {
        let file = TestFile::new(4 * page());
        let (shared, private) = (Map::shared(&file, 4 * page()), Map::private(&file, 4 * page()));
        shared.set(page(), 0x11);
        private.set(2 * page(), 0x12);
        for map in [&shared, &private] {
            if let Err(error) = madvise(map.addr(), 4 * page(), advice) {
                assert_eq!(error.0, libc::EINVAL, "advice {advice}: the system may lack it, nothing else");
            }
            assert_eq!(map.get(page()), 0x11, "advice {advice}");
            assert_eq!(map.get(0), pattern(0), "advice {advice}");
        }
        assert_eq!(private.get(2 * page()), 0x12, "advice {advice}");
        shared.set(3 * page(), 0x13);
        shared.unmap();
        assert_eq!(file.stored_byte(page()), 0x11, "advice {advice}");
        assert_eq!(file.stored_byte(3 * page()), 0x13, "advice {advice}");
        assert_eq!(file.stored_byte(2 * page()), pattern(2 * page()), "advice {advice}");
    }
}

#[test]
fn l08_ordinary_hints_are_accepted() {
    own_process!();
    let file = TestFile::new(page());
    for map in [Map::shared(&file, page()), Map::private(&file, page())] {
        for advice in &HINTS[..9] {
            assert_eq!(madvise(map.addr(), page(), *advice), Ok(()), "advice {advice}");
        }
    }
}

#[test]
fn l08_dontneed_keeps_the_changes_of_a_shared_map() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    for round in 1..4 {
        map.set(page(), round);
        madvise(map.addr(), 2 * page(), libc::MADV_DONTNEED).unwrap();
        assert_eq!(map.get(page()), round);
    }
    map.unmap();
    assert_eq!(file.stored_byte(page()), 3);
}

#[test]
fn l08_stores_after_dontneed_reach_the_file() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(0, 1);
    map.sync();
    madvise(map.addr(), 2 * page(), libc::MADV_DONTNEED).unwrap();
    map.set(0, 2);
    map.set(page(), 3);
    map.sync();
    assert_eq!((file.stored_byte(0), file.stored_byte(page())), (2, 3));
}

#[test]
fn l08_dontneed_brings_a_private_map_back_to_the_files_content() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::private(&file, 3 * page());
    for at in 0..3 {
        map.set(at * page(), 0x21);
    }
    madvise(map.at(page()), page(), libc::MADV_DONTNEED).unwrap();
    assert_eq!(map.get(page()), pattern(page()));
    assert_eq!((map.get(0), map.get(2 * page())), (0x21, 0x21));
}

#[test]
fn l08_dontneed_of_a_locked_page_is_einval() {
    own_process!();
    let file = TestFile::new(page());
    for map in [Map::shared(&file, page()), Map::private(&file, page())] {
        map.set(0, 0x31);
        mlock(map.addr(), page()).unwrap();
        assert_errno(madvise(map.addr(), page(), libc::MADV_DONTNEED), libc::EINVAL);
        assert_eq!(map.get(0), 0x31);
    }
}

#[test]
fn l08_free_is_for_anonymous_memory_only() {
    own_process!();
    let file = TestFile::new(page());
    for map in [Map::shared(&file, page()), Map::private(&file, page())] {
        map.set(0, 0x41);
        assert_errno(madvise(map.addr(), page(), libc::MADV_FREE), libc::EINVAL);
        assert_eq!(map.get(0), 0x41);
    }
    let anonymous = Map::anonymous(page(), RW);
    assert_eq!(madvise(anonymous.addr(), page(), libc::MADV_FREE), Ok(()));
}

#[test]
fn l08_wipeonfork_is_for_anonymous_memory_only() {
    own_process!();
    let file = TestFile::new(page());
    for map in [Map::shared(&file, page()), Map::private(&file, page())] {
        assert_errno(madvise(map.addr(), page(), libc::MADV_WIPEONFORK), libc::EINVAL);
    }
}

#[test]
fn l08_populate_needs_the_access_it_populates_for() {
    own_process!();
    let file = TestFile::new(2 * page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(2 * page(), RW, flags, file.fd(), 0).unwrap();
        assert_eq!(madvise(map.addr(), 2 * page(), MADV_POPULATE_READ), Ok(()));
        assert_eq!(madvise(map.addr(), 2 * page(), MADV_POPULATE_WRITE), Ok(()));
        assert_eq!(map.get(page()), pattern(page()));
        map.protect(0, 2 * page(), PROT_READ).unwrap();
        let refused = madvise(map.addr(), 2 * page(), MADV_POPULATE_WRITE);
        assert!(refused.is_err(), "populating for stores into a read-only map");
    }
    assert_eq!(file.stored_all(), (0..2 * page()).map(pattern).collect::<Vec<_>>());
}

#[test]
fn l08_remove_makes_a_hole_in_map_and_file() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    map.set(page(), 0x51);
    map.set(3 * page(), 0x52);
    madvise(map.at(page()), 2 * page(), libc::MADV_REMOVE).unwrap();
    assert_eq!(map.bytes(page(), 2 * page()), vec![0; 2 * page()]);
    map.set(page() + 1, 0x53);
    map.unmap();
    assert_eq!(file.stored(page(), 3), [0, 0x53, 0]);
    assert_eq!(file.stored_byte(2 * page()), 0);
    assert_eq!(file.stored_byte(3 * page()), 0x52);
    assert_eq!(file.len(), 4 * page());
}

#[test]
fn l08_bad_arguments_have_the_kernels_errno() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    let needed = libc::MADV_WILLNEED;
    assert_errno(madvise(map.addr() + 1, page(), needed), libc::EINVAL);
    assert_errno(madvise(map.addr(), page(), 12345), libc::EINVAL);
    assert_errno(madvise(map.addr(), page(), -1), libc::EINVAL);
    assert_errno(madvise(map.addr(), usize::MAX, needed), libc::EINVAL);
    assert_eq!(madvise(map.addr(), 0, needed), Ok(()));
    munmap(map.at(page()), page()).unwrap();
    assert_errno(madvise(map.addr(), 3 * page(), needed), libc::ENOMEM);
    assert_errno(madvise(map.at(page()), page(), libc::MADV_DONTNEED), libc::ENOMEM);
}

/// Whether the answer to each advice is the kernel's about a map of the same kind on a file that it maps itself.
#[test]
fn l08_each_advice_is_answered_as_by_the_kernel() {
    own_process!();
    let twin_path =
        std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("advice-{}", std::process::id()));
    let (file, twin) = (TestFile::new(2 * page()), TestFile::at(&twin_path, &vec![1; 2 * page()]));
    std::fs::remove_file(twin_path).unwrap();
    // Left out: what depends on the kernel's build (KSM, huge pages), and the two that poison memory.
    let advices = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23, 24, 99, 103];
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        for prot in [RW, PROT_READ, libc::PROT_NONE] {
            let ours = Map::new(2 * page(), prot, flags, file.fd(), 0).unwrap();
            let theirs = kernel::mmap(0, 2 * page(), prot, flags, twin.fd(), 0).unwrap();
            for advice in advices {
                let want = kernel::madvise(theirs, 2 * page(), advice);
                let got = madvise(ours.addr(), 2 * page(), advice);
                assert_eq!(got, want, "advice {advice}, prot {prot}, flags {flags}");
            }
            kernel::munmap(theirs, 2 * page()).unwrap();
        }
    }
}

#[test]
fn l08_posix_madvise_never_loses_a_byte() {
    own_process!();
    let file = TestFile::new(2 * page());
    let (shared, private) = (Map::shared(&file, 2 * page()), Map::private(&file, 2 * page()));
    for map in [&shared, &private] {
        map.set(page(), 0x61);
        for advice in [
            libc::POSIX_MADV_NORMAL,
            libc::POSIX_MADV_RANDOM,
            libc::POSIX_MADV_SEQUENTIAL,
            libc::POSIX_MADV_WILLNEED,
            libc::POSIX_MADV_DONTNEED,
        ] {
            assert_eq!(posix_madvise(map.addr(), 2 * page(), advice), Ok(()));
            assert_eq!(map.get(page()), 0x61, "advice {advice}");
        }
        assert_errno(posix_madvise(map.addr(), page(), 999), libc::EINVAL);
        assert_errno(posix_madvise(map.addr() + 1, page(), libc::POSIX_MADV_NORMAL), libc::EINVAL);
    }
    munmap(shared.addr(), page()).unwrap();
    assert_errno(posix_madvise(shared.addr(), 2 * page(), libc::POSIX_MADV_WILLNEED), libc::ENOMEM);
}
