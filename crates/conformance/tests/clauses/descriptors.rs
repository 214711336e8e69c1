//! L11: all kinds of descriptors.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ};
use mapback_conformance::calls::{assert_errno, ftruncate, kernel, mmap, munmap};
use mapback_conformance::file::{open, pattern};
use mapback_conformance::map::{RW, get};
use mapback_conformance::process::fork;
use mapback_conformance::{Map, TestFile, own_process, page};

/// Stores through a shared map of a descriptor opened with `flags`; the file must change there and not grow.
fn assert_stores_in_place(flags: i32) {
    let len = 2 * page() + 321;
    let file = TestFile::new(len);
    let descriptor = file.open(libc::O_RDWR | flags);
    let map = Map::new(len, RW, MAP_SHARED, descriptor.as_raw_fd(), 0).unwrap();
    drop(descriptor);
    map.set(3, 0x11);
    map.set(page() + 3, 0x12);
    map.set(len - 1, 0x13);
    map.sync();
    assert_eq!(file.len(), len, "flags {flags:#o}: the file has grown");
    assert_eq!(file.stored(2, 3), [pattern(2), 0x11, pattern(4)]);
    map.set(4, 0x14);
    map.unmap();
    let mut expected: Vec<u8> = (0..len).map(pattern).collect();
    for (at, value) in [(3, 0x11), (4, 0x14), (page() + 3, 0x12), (len - 1, 0x13)] {
        expected[at] = value;
    }
    assert_eq!(file.stored_all(), expected, "flags {flags:#o}");
}

#[test]
fn l11_o_append() {
    own_process!();
    assert_stores_in_place(libc::O_APPEND);
}

#[test]
fn l11_o_direct() {
    own_process!();
    assert_stores_in_place(libc::O_DIRECT);
    assert_stores_in_place(libc::O_DIRECT | libc::O_APPEND);
}

#[test]
fn l11_o_sync_and_others() {
    own_process!();
    for flags in
        [libc::O_SYNC, libc::O_DSYNC, libc::O_CLOEXEC, libc::O_NONBLOCK, libc::O_NOATIME, libc::O_NOFOLLOW]
    {
        assert_stores_in_place(flags);
    }
}

#[test]
fn l11_a_duplicated_or_received_descriptor() {
    own_process!();
    let file = TestFile::new(page());
    let duplicate = file.file().try_clone().unwrap();
    let map = Map::new(page(), RW, MAP_SHARED, duplicate.as_raw_fd(), 0).unwrap();
    let reopened = open(&Path::new("/proc/self/fd").join(duplicate.as_raw_fd().to_string()), libc::O_RDWR);
    let other = Map::new(page(), RW, MAP_SHARED, reopened.as_raw_fd(), 0).unwrap();
    map.set(0, 0x21);
    assert_eq!(other.get(0), 0x21);
}

#[test]
fn l11_the_position_of_the_descriptor_stays() {
    own_process!();
    let file = TestFile::new(3 * page());
    // SAFETY: no memory is passed.
    let seek = |to, whence| unsafe { libc::lseek(file.fd(), to, whence) };
    seek(77, libc::SEEK_SET);
    let map = Map::shared(&file, 3 * page());
    map.set(page(), 0x31);
    map.sync();
    map.unmap();
    assert_eq!(seek(0, libc::SEEK_CUR), 77);
}

#[test]
fn l11_no_descriptor_is_used_up() {
    own_process!();
    // The lowest free number goes to the program's next open, whatever mapback keeps for itself.
    let file = TestFile::new(page());
    let lowest = || file.open(libc::O_RDONLY).as_raw_fd();
    let before = lowest();
    let maps: Vec<Map> = (0..5).map(|_| Map::shared(&TestFile::new(page()), page())).collect();
    assert_eq!(lowest(), before);
    drop(maps);
}

fn memfd(name: &CStr, flags: u32) -> OwnedFd {
    // SAFETY: the name ends in NUL, and the new descriptor is nobody else's.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), flags);
        assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

#[test]
fn l11_a_memfd() {
    own_process!();
    let memory = memfd(c"test", libc::MFD_ALLOW_SEALING);
    let fd = memory.as_raw_fd();
    ftruncate(fd, 2 * page() as i64).unwrap();
    let (one, two) = (
        Map::new(2 * page(), RW, MAP_SHARED, fd, 0).unwrap(),
        Map::new(page(), RW, MAP_SHARED, fd, page() as i64).unwrap(),
    );
    one.set(page(), 0x41);
    assert_eq!(two.get(0), 0x41);
    fork(|| {
        two.set(1, 0x42);
        true
    })
    .assert_good();
    assert_eq!(one.get(page() + 1), 0x42);
    let mut found = [0];
    assert_eq!(kernel::pread(fd, &mut found, page() as i64 + 1), Ok(1));
    assert_eq!(found, [0x42]);
    drop((one, two));
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_WRITE) }, 0);
    assert_errno(Map::new(page(), RW, MAP_SHARED, fd, 0), libc::EPERM);
    assert_eq!(Map::new(page(), RW, MAP_PRIVATE, fd, 0).unwrap().get(0), 0);
}

#[test]
fn l11_posix_shared_memory() {
    own_process!();
    let name = std::ffi::CString::new(format!("/mapback-clause-{}", std::process::id())).unwrap();
    // SAFETY: the name ends in NUL, and the new descriptor is nobody else's.
    let memory = unsafe {
        let fd = libc::shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600);
        assert!(fd >= 0, "shm_open: {}", std::io::Error::last_os_error());
        libc::shm_unlink(name.as_ptr());
        OwnedFd::from_raw_fd(fd)
    };
    ftruncate(memory.as_raw_fd(), page() as i64).unwrap();
    let map = Map::new(page(), RW, MAP_SHARED, memory.as_raw_fd(), 0).unwrap();
    fork(|| {
        map.set(0, 0x51);
        true
    })
    .assert_good();
    assert_eq!(map.get(0), 0x51);
}

/// Files that are no regular files: the answer is the kernel's own.
#[test]
fn l11_special_files_are_the_kernels_affair() {
    own_process!();
    let paths = [
        "/proc/self/maps",
        "/proc/self/status",
        "/proc/meminfo",
        "/proc",
        "/dev/null",
        "/dev/full",
        "/dev/urandom",
        "/dev/ptmx",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ];
    for path in paths {
        for (mode, prot) in [(libc::O_RDONLY, PROT_READ), (libc::O_RDWR, RW)] {
            let Ok(file) = mapback_conformance::file::try_open(Path::new(path), mode) else { continue };
            for flags in [MAP_SHARED, MAP_PRIVATE] {
                let want = kernel::mmap(0, page(), prot, flags, file.as_raw_fd(), 0);
                let got = mmap(0, page(), prot, flags, file.as_raw_fd(), 0);
                assert_eq!(got.map(|_| ()), want.map(|_| ()), "{path}, flags {flags}");
                for addr in [want, got].into_iter().flatten() {
                    munmap(addr, page()).unwrap();
                }
            }
        }
    }
}

#[test]
fn l11_descriptors_that_are_no_files_are_the_kernels_affair() {
    own_process!();
    // SAFETY: none of them takes memory; the descriptors live until the test's process ends.
    let made = unsafe { [libc::eventfd(0, 0), libc::epoll_create1(0), libc::inotify_init()] };
    for fd in made {
        assert!(fd >= 0);
        for flags in [MAP_SHARED, MAP_PRIVATE] {
            assert_errno(mmap(0, page(), PROT_READ, flags, fd, 0), libc::ENODEV);
        }
    }
}

#[test]
fn l11_an_empty_file() {
    own_process!();
    let file = TestFile::new(0);
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = Map::new(page(), RW, flags, file.fd(), 0).expect("mapping an empty file");
        assert_eq!(map.load(0).expect_err("nothing to load").signal, libc::SIGBUS);
        map.sync();
    }
    assert_eq!(file.len(), 0);
}

#[test]
fn l11_the_running_program_itself() {
    own_process!();
    let program = open(&std::env::current_exe().unwrap(), libc::O_RDONLY);
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let addr = mmap(0, page(), PROT_READ, flags, program.as_raw_fd(), 0).unwrap();
        assert_eq!([0, 1, 2, 3].map(|at| get(addr + at)), *b"\x7fELF");
        munmap(addr, page()).unwrap();
    }
}
