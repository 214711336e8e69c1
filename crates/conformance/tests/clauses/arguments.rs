//! P1–P7: what `mmap` refuses, and with which errno.

use mapback_conformance::fd::AsRawFd;

use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_NONE, PROT_READ};
#[cfg(unix)]
use mapback_conformance::calls::{Errno, kernel};
use mapback_conformance::calls::{assert_errno, mmap, mmap64, munmap};
#[cfg(unix)]
use mapback_conformance::file::open;
use mapback_conformance::file::pattern;
use mapback_conformance::map::{RW, get};
use mapback_conformance::probe::{self, Fault};
use mapback_conformance::{Map, TestFile, own_process, page};

#[test]
fn p01_length_zero_is_einval() {
    own_process!();
    let file = TestFile::new(page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        assert_errno(mmap(0, 0, PROT_READ, flags, file.fd(), 0), libc::EINVAL);
    }
    assert_errno(mmap(0, 0, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), libc::EINVAL);
}

#[test]
fn p01_length_zero_maps_nothing_over_what_is_there() {
    own_process!();
    let file = TestFile::new(page());
    let there = Map::shared(&file, page());
    let refused = mmap(there.addr(), 0, PROT_READ, MAP_PRIVATE | MAP_FIXED, file.fd(), 0);
    assert_errno(refused, libc::EINVAL);
    assert_eq!(there.get(5), pattern(5));
}

#[test]
fn p02_neither_shared_nor_private_is_einval() {
    own_process!();
    let file = TestFile::new(page());
    for flags in [0, libc::MAP_NORESERVE, MAP_FIXED, 4, 8] {
        assert_errno(mmap(0, page(), PROT_READ, flags, file.fd(), 0), libc::EINVAL);
    }
    assert_errno(mmap(0, page(), PROT_READ, MAP_ANONYMOUS, -1, 0), libc::EINVAL);
}

#[test]
fn p03_a_bad_descriptor_is_ebadf() {
    own_process!();
    let file = TestFile::new(page());
    let closed = file.open(libc::O_RDWR).as_raw_fd(); // dropped at once
    for fd in [-1, -100, closed, i32::MAX] {
        for flags in [MAP_SHARED, MAP_PRIVATE] {
            assert_errno(mmap(0, page(), PROT_READ, flags, fd, 0), libc::EBADF);
        }
    }
    #[cfg(unix)]
    {
        let path_only = file.open(libc::O_PATH);
        assert_errno(mmap(0, page(), PROT_READ, MAP_PRIVATE, path_only.as_raw_fd(), 0), libc::EBADF);
    }
}

#[cfg(unix)] // descriptors and a kernel's mmap to compare with
#[test]
fn p03_a_directory_pipe_or_socket_is_enodev() {
    own_process!();
    let directory = open(&mapback_conformance::process::scratch(), libc::O_RDONLY | libc::O_DIRECTORY);
    let (reader, writer) = std::io::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        for fd in [directory.as_raw_fd(), reader.as_raw_fd()] {
            assert_errno(mmap(0, page(), PROT_READ, flags, fd, 0), libc::ENODEV);
        }
        // A socket is open for writing too, so that nothing but its type is at fault.
        assert_errno(mmap(0, page(), PROT_READ, flags, socket.as_raw_fd(), 0), libc::ENODEV);
        assert_errno(mmap(0, page(), RW, flags, udp.as_raw_fd(), 0), libc::ENODEV);
        assert_errno(mmap(0, page(), PROT_READ, flags, writer.as_raw_fd(), 0), libc::EACCES);
    }
}

#[test]
fn p04_a_descriptor_not_open_for_reading_is_eacces() {
    own_process!();
    let file = TestFile::new(page());
    let write_only = file.open(libc::O_WRONLY);
    for prot in [PROT_NONE, PROT_READ, libc::PROT_WRITE, RW, PROT_EXEC] {
        for flags in [MAP_SHARED, MAP_PRIVATE] {
            assert_errno(mmap(0, page(), prot, flags, write_only.as_raw_fd(), 0), libc::EACCES);
        }
    }
}

#[test]
fn p04_a_writable_shared_map_of_a_read_only_descriptor_is_eacces() {
    own_process!();
    let file = TestFile::new(page());
    let read_only = file.open(libc::O_RDONLY);
    for prot in [libc::PROT_WRITE, RW, RW | PROT_EXEC] {
        assert_errno(mmap(0, page(), prot, MAP_SHARED, read_only.as_raw_fd(), 0), libc::EACCES);
    }
    let readable =
        Map::new(page(), PROT_READ, MAP_SHARED, read_only.as_raw_fd(), 0).expect("reading is allowed");
    assert_eq!(readable.get(7), pattern(7));
}

#[test]
fn p04_a_writable_private_map_of_a_read_only_descriptor_works() {
    own_process!();
    let file = TestFile::new(page());
    let read_only = file.open(libc::O_RDONLY);
    let map = Map::new(page(), RW, MAP_PRIVATE, read_only.as_raw_fd(), 0).expect("a private map");
    map.set(3, 0xee);
    assert_eq!(map.get(3), 0xee);
    assert_eq!(map.get(4), pattern(4));
    assert_eq!(file.stored_byte(3), pattern(3));
}

#[test]
fn p05_an_end_past_the_offset_maximum_is_eoverflow() {
    own_process!();
    let file = TestFile::new(page());
    let page_mask = !(page() as i64 - 1);
    for off in [i64::MAX & page_mask, (i64::MAX & page_mask) - page() as i64, -(page() as i64)] {
        for flags in [MAP_SHARED, MAP_PRIVATE] {
            assert_errno(mmap(0, 2 * page(), PROT_READ, flags, file.fd(), off), libc::EOVERFLOW);
            assert_errno(mmap64(0, 2 * page(), PROT_READ, flags, file.fd(), off), libc::EOVERFLOW);
        }
    }
}

#[test]
fn p06_no_room_is_enomem() {
    own_process!();
    let file = TestFile::new(page());
    for len in [usize::MAX, usize::MAX - page(), 1 << 62, 1 << 57] {
        for flags in [MAP_SHARED, MAP_PRIVATE] {
            assert_errno(mmap(0, len, PROT_READ, flags, file.fd(), 0), libc::ENOMEM);
        }
    }
    assert_eq!(Map::shared(&file, page()).get(0), pattern(0), "and then the next map works");
}

#[test]
fn p07_a_misaligned_offset_or_fixed_address_is_einval() {
    own_process!();
    let file = TestFile::new(3 * page());
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        for off in [1, 512, page() as i64 - 1, page() as i64 + 1] {
            assert_errno(mmap(0, page(), PROT_READ, flags, file.fd(), off), libc::EINVAL);
        }
        let room = Map::anonymous(2 * page(), PROT_READ);
        let misaligned = room.addr() + 1;
        assert_errno(mmap(misaligned, page(), PROT_READ, flags | MAP_FIXED, file.fd(), 0), libc::EINVAL);
        // Without MAP_FIXED an address is a hint only.
        let hinted = mmap(misaligned, page(), PROT_READ, flags, file.fd(), 0).expect("a hint");
        assert_eq!(hinted % page(), 0);
        munmap(hinted, page()).unwrap();
    }
}

/// When several arguments are wrong at once, the kernel's order of checks decides which errno comes back; programs
/// that probe for features rely on it. Each combination is asked twice: libc's mmap, and the kernel about a twin file.
#[cfg(unix)] // descriptors and a kernel's mmap to compare with
#[test]
fn p07_any_combination_of_bad_arguments_has_the_kernels_errno() {
    own_process!();
    let file = TestFile::new(2 * page() + 100);
    // The twin is on a file system that the kernel maps, even where the file itself is on one that it does not.
    let twin =
        TestFile::at(&std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(twin_name()), &[1; 9000]);
    let descriptors = |file: &TestFile| {
        [
            file.open(libc::O_RDWR),
            file.open(libc::O_RDONLY),
            file.open(libc::O_WRONLY),
            file.open(libc::O_PATH),
            open(file.path().parent().unwrap(), libc::O_RDONLY),
        ]
    };
    let (ours, twins) = (descriptors(&file), descriptors(&twin));
    std::fs::remove_file(twin.path()).unwrap();
    let big = 1usize << 57;
    let mut differing = Vec::new();
    for (our_fd, twin_fd) in ours.iter().zip(&twins) {
        for len in [0, 1, page(), 3 * page(), big, usize::MAX] {
            for prot in [PROT_NONE, PROT_READ, libc::PROT_WRITE, RW, 0x40] {
                for flags in [0, MAP_SHARED, MAP_PRIVATE, 3, MAP_SHARED | 0x20_0000, 3 | 0x20_0000, 4] {
                    for off in [0, 1, page() as i64, 1 << 40, 1 << 62, -1, -(page() as i64)] {
                        let want =
                            outcome(kernel::mmap(0, len, prot, flags, twin_fd.as_raw_fd(), off), len, true);
                        let got = outcome(mmap(0, len, prot, flags, our_fd.as_raw_fd(), off), len, false);
                        if want != got {
                            differing.push(format!(
                                "len {len:#x} prot {prot} flags {flags:#x} off {off:#x}: kernel {want:?}, here {got:?}"
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(differing.is_empty(), "{} combinations differ:\n{}", differing.len(), differing.join("\n"));
}

#[cfg(unix)]
fn twin_name() -> String {
    format!("twin-{}", std::process::id())
}

#[cfg(unix)]
fn outcome(result: Result<usize, Errno>, len: usize, raw: bool) -> Result<(), Errno> {
    let addr = result?;
    if raw { kernel::munmap(addr, len) } else { munmap(addr, len) }
}

#[test]
fn p07_an_offset_beyond_the_end_of_file_is_allowed() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::new(page(), RW, MAP_SHARED, file.fd(), 16 * page() as i64).expect("mapping past the end");
    let fault = map.load(0).expect_err("there is nothing to load");
    assert_eq!(fault, Fault { signal: libc::SIGBUS, code: libc::BUS_ADRERR, addr: map.at(0) });
}

#[test]
fn p07_mmap64_is_mmap() {
    own_process!();
    let file = TestFile::new(3 * page());
    let addr = mmap64(0, page(), RW, MAP_SHARED, file.fd(), page() as i64).expect("mmap64");
    assert_eq!(get(addr + 9), pattern(page() + 9));
    probe::store(addr, 0xab).unwrap();
    munmap(addr, page()).unwrap();
    assert_eq!(file.stored_byte(page()), 0xab);
}
