//! P10, P26: what the pages allow, at first and after `mprotect`.

use mapback_conformance::fd::AsRawFd;

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE, SIGSEGV};
use mapback_conformance::calls::{assert_errno, mmap, mprotect, munmap};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::probe::{Fault, SEGV_ACCERR};
use mapback_conformance::{Map, TestFile, own_process, page};

#[track_caller]
fn assert_denied<T: std::fmt::Debug>(result: Result<T, Fault>, addr: usize) {
    assert_eq!(
        result.expect_err("an access that is forbidden"),
        Fault { signal: SIGSEGV, code: SEGV_ACCERR, addr }
    );
}

#[test]
fn p10_prot_none_allows_nothing() {
    own_process!();
    let file = TestFile::new(page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(page(), PROT_NONE, flags, file.fd(), 0).unwrap();
        assert_denied(map.load(0), map.at(0));
        assert_denied(map.store(1, 1), map.at(1));
        map.protect(0, page(), RW).unwrap();
        assert_eq!(map.load(0), Ok(pattern(0)));
        assert_eq!(map.store(0, pattern(0)), Ok(()));
        map.protect(0, page(), PROT_NONE).unwrap();
        assert_denied(map.load(0), map.at(0));
    }
}

#[test]
fn p10_no_store_without_prot_write() {
    own_process!();
    let file = TestFile::new(2 * page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(2 * page(), PROT_READ, flags, file.fd(), 0).unwrap();
        for _ in 0..2 {
            assert_denied(map.store(page() + 5, 1), map.at(page() + 5));
        }
        assert_eq!(map.load(page() + 5), Ok(pattern(page() + 5)));
    }
    assert_eq!(file.stored_byte(page() + 5), pattern(page() + 5));
}

#[test]
fn p10_code_in_a_file_can_be_executed() {
    own_process!();
    #[cfg(target_arch = "x86_64")]
    let code = [0xb8, 42, 0, 0, 0, 0xc3]; // mov eax, 42; ret
    #[cfg(target_arch = "aarch64")]
    let code = [0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6]; // mov w0, #42; ret
    let file = TestFile::with(&code);
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(page(), PROT_READ | PROT_EXEC, flags, file.fd(), 0).unwrap();
        // SAFETY: the map holds a whole function of this signature and is executable.
        let function = unsafe { std::mem::transmute::<usize, extern "C" fn() -> i32>(map.addr()) };
        assert_eq!(function(), 42);
    }
}

#[test]
fn p26_a_read_only_descriptor_stays_the_limit_even_after_close() {
    own_process!();
    let file = TestFile::new(page());
    let descriptor = file.open(libc::O_RDONLY);
    let map = Map::new(page(), PROT_READ, MAP_SHARED, descriptor.as_raw_fd(), 0).unwrap();
    assert_errno(map.protect(0, page(), RW), libc::EACCES);
    drop(descriptor);
    assert_errno(map.protect(0, page(), PROT_WRITE), libc::EACCES);
    assert_denied(map.store(0, 1), map.at(0));
    map.protect(0, page(), PROT_NONE).unwrap();
    map.protect(0, page(), PROT_READ).unwrap();
    assert_eq!(map.get(0), pattern(0));
}

#[test]
fn p26_a_private_map_of_a_read_only_descriptor_may_become_writable() {
    own_process!();
    let file = TestFile::new(page());
    let descriptor = file.open(libc::O_RDONLY);
    let map = Map::new(page(), PROT_READ, MAP_PRIVATE, descriptor.as_raw_fd(), 0).unwrap();
    drop(descriptor);
    map.protect(0, page(), RW).unwrap();
    map.set(0, 0xab);
    assert_eq!(map.bytes(0, 2), [0xab, pattern(1)]);
    assert_eq!(file.stored_byte(0), pattern(0));
}

#[test]
fn p26_a_hole_is_enomem_and_misalignment_einval() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    munmap(map.at(page()), page()).unwrap();
    assert_errno(mprotect(map.addr(), 3 * page(), PROT_READ), libc::ENOMEM);
    assert_errno(mprotect(map.at(page()), page(), PROT_READ), libc::ENOMEM);
    assert_errno(mprotect(map.addr() + 1, page(), PROT_READ), libc::EINVAL);
    assert_errno(mprotect(map.addr() + 16, 0, PROT_READ), libc::EINVAL);
    assert_eq!(mprotect(map.addr(), 0, PROT_READ), Ok(()), "nothing of a map is no error");
    assert_errno(mprotect(map.addr(), usize::MAX & !(page() - 1), PROT_READ), libc::ENOMEM);
    assert_errno(mprotect(map.addr(), page(), 0x100), libc::EINVAL);
}

#[test]
fn p26_what_lies_before_a_hole_is_changed_all_the_same() {
    own_process!();
    // Linux works through the range page by page and stops at the hole.
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    munmap(map.at(page()), page()).unwrap();
    assert_errno(mprotect(map.addr(), 3 * page(), PROT_READ), libc::ENOMEM);
    assert_denied(map.store(0, 1), map.at(0));
    assert_eq!(map.store(2 * page(), 1), Ok(()));
}

#[cfg(unix)] // W5, see granules.rs
#[test]
fn p26_one_call_spans_several_maps() {
    own_process!();
    let (one, two) = (TestFile::new(2 * page()), TestFile::new(2 * page()));
    let room = Map::anonymous(5 * page(), RW);
    mmap(room.addr(), 2 * page(), RW, MAP_SHARED | libc::MAP_FIXED, one.fd(), 0).unwrap();
    mmap(room.at(3 * page()), 2 * page(), RW, MAP_PRIVATE | libc::MAP_FIXED, two.fd(), 0).unwrap();
    for at in 0..5 {
        room.set(at * page(), 0x40 + at as u8);
    }
    mprotect(room.at(page()), 3 * page(), PROT_READ).unwrap();
    for at in 0..5 {
        assert_eq!(room.load(at * page()), Ok(0x40 + at as u8));
        let allowed = at == 0 || at == 4;
        assert_eq!(room.store(at * page() + 1, 9).is_ok(), allowed, "page {at}");
    }
    mprotect(room.addr(), 5 * page(), RW).unwrap();
    for at in 0..5 {
        room.set(at * page() + 2, 10);
    }
    room.unmap();
    assert_eq!(one.stored(0, 3), [0x40, 9, 10]);
    assert_eq!(one.stored(page(), 3), [0x41, pattern(page() + 1), 10]);
    assert_eq!(two.stored_all(), (0..2 * page()).map(pattern).collect::<Vec<_>>());
}

#[test]
fn p26_protection_is_kept_page_by_page_across_msync() {
    own_process!();
    // A tracker that write-protects pages to see stores must keep apart what it does and what the program asked for.
    let pages = 16;
    let file = TestFile::new(pages * page());
    let map = Map::shared(&file, pages * page());
    for round in 1..4u8 {
        for at in 0..pages {
            map.protect(at * page(), page(), RW).unwrap();
            map.set(at * page(), round * 16 + at as u8);
        }
        for at in (0..pages).filter(|at| at % 3 != 0) {
            map.protect(at * page(), page(), if at % 3 == 1 { PROT_READ } else { PROT_NONE }).unwrap();
        }
        map.sync();
        for at in 0..pages {
            match at % 3 {
                0 => assert_eq!(map.store(at * page() + 1, round), Ok(())),
                1 => assert_denied(map.store(at * page() + 1, round), map.at(at * page() + 1)),
                _ => assert_denied(map.load(at * page()), map.at(at * page())),
            }
            assert_eq!(file.stored_byte(at * page()), round * 16 + at as u8, "page {at}");
        }
    }
    map.unmap();
    for at in 0..pages {
        let second = if at % 3 == 0 { 3 } else { pattern(at * page() + 1) };
        assert_eq!(file.stored_byte(at * page() + 1), second, "page {at}");
    }
}

#[test]
fn p26_stores_before_a_page_became_read_only_reach_the_file() {
    own_process!();
    for prot in [PROT_READ, PROT_NONE] {
        let file = TestFile::new(2 * page());
        let map = Map::shared(&file, 2 * page());
        map.set(0, 0x99);
        map.protect(0, 2 * page(), prot).unwrap();
        map.sync();
        assert_eq!(file.stored_byte(0), 0x99);
        map.protect(0, 2 * page(), RW).unwrap();
        map.set(page(), 0x98);
        map.protect(0, 2 * page(), prot).unwrap();
        map.unmap();
        assert_eq!(file.stored_byte(page()), 0x98);
    }
}

#[test]
fn p26_parts_become_writable_one_after_the_other() {
    own_process!();
    let pages = 8;
    let file = TestFile::new(pages * page() - 100);
    let map = Map::new(pages * page(), PROT_READ, MAP_SHARED, file.fd(), 0).unwrap();
    let mut wanted: Vec<u8> = (0..pages * page() - 100).map(pattern).collect();
    let mut set = |offset: usize, value: u8| {
        map.set(offset, value);
        wanted[offset] = value;
    };
    map.protect(3 * page(), page(), RW).unwrap();
    set(3 * page() + 7, 0x31);
    map.sync();
    map.protect(2 * page(), 3 * page(), RW).unwrap();
    set(2 * page(), 0x21);
    set(3 * page() + 8, 0x32);
    map.protect(2 * page(), 3 * page(), PROT_READ).unwrap();
    map.protect(7 * page(), page(), RW).unwrap();
    set(8 * page() - 101, 0x71);
    map.protect(0, 2 * page(), RW).unwrap();
    set(2 * page() - 1, 0x12);
    map.protect(4 * page(), page(), RW).unwrap();
    set(4 * page() + 1, 0x41);
    map.sync();
    assert_eq!(file.stored_all(), wanted, "after msync");
    map.unmap();
    assert_eq!(file.stored_all(), wanted, "after munmap");
}
