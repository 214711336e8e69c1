//! L13: the kernel itself reads and writes the map's memory: files, pipes, sockets.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use libc::{PROT_NONE, PROT_READ, c_void, iovec};
use mapback_conformance::calls::{Errno, assert_errno, count, pread, pwrite, read, write};
use mapback_conformance::file::pattern;
use mapback_conformance::process::tracked_by_faults;
use mapback_conformance::{Map, TestFile, own_process, page};

const PAGES: usize = 4;

/// A shared map of which each page has been stored into, synced, and is clean and tracked now.
struct Target {
    file: TestFile,
    map: Map,
}

impl Target {
    fn new() -> Target {
        let file = TestFile::new(PAGES * page());
        let map = Map::shared(&file, PAGES * page());
        for at in 0..PAGES {
            map.set(at * page(), pattern(at * page()));
        }
        map.sync();
        Target { file, map }
    }

    /// Whether map and, after msync, file hold `bytes` at `offset`.
    #[track_caller]
    fn assert_holds(&self, offset: usize, bytes: &[u8], what: &str) {
        assert!(self.map.bytes(offset, bytes.len()) == bytes, "{what}: the map");
        self.map.sync();
        assert!(self.file.stored(offset, bytes.len()) == bytes, "{what}: the file after msync");
    }
}

fn message(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + 1) as u8 | 1).collect()
}

#[test]
fn l13_read_and_pread_into_a_map() {
    own_process!();
    let (target, len) = (Target::new(), 2 * page() + 50);
    let source = TestFile::with(&message(3 * page()));
    for round in 0..3 {
        let at = page() / 2 + round * 10;
        // SAFETY: no memory is passed.
        unsafe { libc::lseek(source.fd(), 0, libc::SEEK_SET) };
        assert_eq!(read(source.fd(), target.map.at(at), len), Ok(len));
        target.assert_holds(at, &message(3 * page())[..len], "read");
        assert_eq!(pread(source.fd(), target.map.at(at), len, 100), Ok(len));
        target.assert_holds(at, &message(3 * page())[100..100 + len], "pread");
    }
}

#[test]
fn l13_readv_and_preadv_into_a_map() {
    own_process!();
    let target = Target::new();
    let source = TestFile::with(&message(page()));
    let mut elsewhere = [0u8; 100];
    let parts = |elsewhere: &mut [u8; 100]| {
        [
            iovec { iov_base: target.map.at(10) as *mut c_void, iov_len: 100 },
            iovec { iov_base: elsewhere.as_mut_ptr().cast(), iov_len: 100 },
            iovec { iov_base: target.map.at(2 * page() - 50) as *mut c_void, iov_len: 100 },
        ]
    };
    let expected = message(page());
    // SAFETY: no memory is passed.
    unsafe { libc::lseek(source.fd(), 0, libc::SEEK_SET) };
    // SAFETY: each part is memory of the test.
    assert_eq!(count(unsafe { libc::readv(source.fd(), parts(&mut elsewhere).as_ptr(), 3) }), Ok(300));
    target.assert_holds(10, &expected[..100], "readv");
    assert_eq!(elsewhere, expected[100..200]);
    target.assert_holds(2 * page() - 50, &expected[200..300], "readv");
    // SAFETY: as above.
    assert_eq!(count(unsafe { libc::preadv(source.fd(), parts(&mut elsewhere).as_ptr(), 3, 500) }), Ok(300));
    target.assert_holds(10, &expected[500..600], "preadv");
    let parts = parts(&mut elsewhere);
    // SAFETY: as above.
    assert_eq!(count(unsafe { libc::preadv2(source.fd(), parts.as_ptr(), 3, 700, 0) }), Ok(300));
    target.assert_holds(10, &expected[700..800], "preadv2");
}

#[test]
fn l13_read_from_a_pipe_into_a_map() {
    own_process!();
    let target = Target::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    for at in [5, page() - 300, 2 * page()] {
        writer.write_all(&message(1000)).unwrap();
        assert_eq!(read(reader.as_raw_fd(), target.map.at(at), 1000), Ok(1000));
        target.assert_holds(at, &message(1000), "a pipe");
    }
}

#[test]
fn l13_recv_and_recvfrom_into_a_map() {
    own_process!();
    let target = Target::new();
    let (near, mut far) = UnixStream::pair().unwrap();
    for at in [0, page() - 500] {
        far.write_all(&message(1000)).unwrap();
        // SAFETY: the buffer is in the test's map.
        let got = unsafe {
            libc::recv(near.as_raw_fd(), target.map.at(at) as *mut c_void, 1000, libc::MSG_WAITALL)
        };
        assert_eq!(count(got), Ok(1000));
        target.assert_holds(at, &message(1000), "recv");
        far.write_all(&message(700)).unwrap();
        let (fd, null) = (near.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: the buffer is in the test's map; no address is wanted.
        let got = unsafe {
            libc::recvfrom(
                fd,
                target.map.at(2 * page() + at) as *mut c_void,
                700,
                0,
                null,
                std::ptr::null_mut(),
            )
        };
        assert_eq!(count(got), Ok(700));
        target.assert_holds(2 * page() + at, &message(700), "recvfrom");
    }
}

#[test]
fn l13_a_datagram_is_received_into_a_map_whole_or_not_at_all() {
    own_process!();
    // The kernel has taken a datagram off its queue before it finds that the buffer cannot be written.
    let target = Target::new();
    let (near, far) = UnixDatagram::pair().unwrap();
    for round in 0..4usize {
        far.send(&message(2000 + round)).unwrap();
        far.send(b"next").unwrap();
        let at = page() - 1000 + round * 50;
        let got = near.as_raw_fd();
        // SAFETY: the buffer is in the test's map.
        let got = unsafe { libc::recv(got, target.map.at(at) as *mut c_void, 3000, 0) };
        assert_eq!(count(got), Ok(2000 + round));
        target.assert_holds(at, &message(2000 + round), "a datagram");
        let mut next = [0; 10];
        assert_eq!(near.recv(&mut next).unwrap(), 4);
    }
}

#[test]
fn l13_recvmsg_into_a_map() {
    own_process!();
    let target = Target::new();
    let (near, far) = UnixDatagram::pair().unwrap();
    for round in 0..3 {
        far.send(&message(900)).unwrap();
        let mut parts = [
            iovec { iov_base: target.map.at(page() - 200) as *mut c_void, iov_len: 400 },
            iovec { iov_base: target.map.at(3 * page() + round) as *mut c_void, iov_len: 600 },
        ];
        // SAFETY: zero is a valid msghdr, and its parts are in the test's map.
        let got = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = parts.as_mut_ptr();
            header.msg_iovlen = 2;
            libc::recvmsg(near.as_raw_fd(), &mut header, 0)
        };
        assert_eq!(count(got), Ok(900));
        target.assert_holds(page() - 200, &message(900)[..400], "recvmsg");
        target.assert_holds(3 * page() + round, &message(900)[400..], "recvmsg");
    }
}

#[test]
fn l13_write_and_send_from_a_map() {
    own_process!();
    let target = Target::new();
    target.map.put(page() - 100, &message(300));
    let out = TestFile::with(b"");
    assert_eq!(write(out.fd(), target.map.at(page() - 100), 300), Ok(300));
    assert_eq!(pwrite(out.fd(), target.map.at(page() - 100), 300, 300), Ok(300));
    assert_eq!(out.stored_all(), [message(300), message(300)].concat());
    let (near, far) = UnixDatagram::pair().unwrap();
    // SAFETY: the buffer is in the test's map.
    let sent = unsafe { libc::send(near.as_raw_fd(), target.map.at(page() - 100) as *const c_void, 300, 0) };
    assert_eq!(count(sent), Ok(300));
    let mut received = vec![0; 500];
    assert_eq!(far.recv(&mut received).unwrap(), 300);
    assert_eq!(received[..300], message(300));
    let parts = [iovec { iov_base: target.map.at(page() - 100) as *mut c_void, iov_len: 300 }; 2];
    // SAFETY: the parts are in the test's map.
    assert_eq!(count(unsafe { libc::pwritev(out.fd(), parts.as_ptr(), 2, 10) }), Ok(600));
    assert_eq!(out.stored(10, 600), [message(300), message(300)].concat());
}

#[test]
fn l13_a_map_is_read_into_from_and_written_to_its_own_file() {
    own_process!();
    let target = Target::new();
    assert_eq!(pread(target.file.fd(), target.map.at(0), 100, 2 * page() as i64), Ok(100));
    let expected: Vec<u8> = (2 * page()..2 * page() + 100).map(pattern).collect();
    target.assert_holds(0, &expected, "pread of the mapped file");
    target.map.put(page(), &message(200));
    assert_eq!(pwrite(target.file.fd(), target.map.at(page()), 200, 3 * page() as i64), Ok(200));
    target.assert_holds(3 * page(), &message(200), "pwrite to the mapped file");
}

#[test]
fn l13_a_buffer_that_the_program_has_protected_is_efault() {
    own_process!();
    let target = Target::new();
    let source = TestFile::with(&message(4 * page()));
    for prot in [PROT_READ, PROT_NONE] {
        target.map.protect(page(), page(), prot).unwrap();
        assert_errno(pread(source.fd(), target.map.at(page()), 100, 0), libc::EFAULT);
        // What comes before the protected page may be filled, what lies in it may not.
        let filled = pread(source.fd(), target.map.at(0), 2 * page(), 0).unwrap_or(0);
        assert!(filled <= page(), "{filled} bytes");
        target.map.protect(page(), page(), mapback_conformance::map::RW).unwrap();
        assert_eq!(target.map.get(page()), pattern(page()));
        assert_eq!(target.map.get(page() + 99), pattern(page() + 99));
    }
    let beyond = Map::shared(&target.file, (PAGES + 2) * page());
    assert_errno(pread(source.fd(), beyond.at(PAGES * page()), 10, 0), libc::EFAULT);
    assert_errno(pwrite(source.fd(), beyond.at(PAGES * page()), 10, 0), libc::EFAULT);
}

#[test]
fn l13_io_uring_reads_into_and_writes_from_a_map() {
    own_process!();
    use io_uring::{IoUring, opcode, types};
    let target = Target::new();
    let other = TestFile::with(&message(2 * page()));
    let mut ring = IoUring::new(4).expect("io_uring, which this test needs");
    let mut submit = |entry| {
        // SAFETY: the buffer is in the test's map and stays mapped until the entry has completed, below.
        unsafe { ring.submission().push(&entry).expect("room in the ring") };
        ring.submit_and_wait(1).expect("submitting");
        ring.completion().next().expect("a completion").result()
    };
    let (fd, len) = (types::Fd(other.fd()), page() + 100);
    for at in [10, page() + 10] {
        let buffer = target.map.at(at) as *mut u8;
        if tracked_by_faults() {
            // L13: nobody can open a page for a ring that the kernel fills on its own; the request says so, and a
            // page that the program stored to before is open.
            let read = opcode::Read::new(fd, buffer, len as u32).offset(50).build();
            assert_eq!(submit(read), -libc::EFAULT);
            target.map.put(at, &vec![1; len]);
        }
        assert_eq!(submit(opcode::Read::new(fd, buffer, len as u32).offset(50).build()), len as i32);
        target.assert_holds(at, &message(2 * page())[50..50 + len], "io_uring read");
    }
    target.map.put(3 * page(), b"from the map");
    let buffer = target.map.at(3 * page()) as *const u8;
    assert_eq!(submit(opcode::Write::new(fd, buffer, 12).offset(7).build()), 12);
    assert_eq!(other.stored(7, 12), b"from the map");
}

/// What is wrong with an address of the program's the kernel says, and nobody looks at it before.
#[test]
fn l13_an_address_that_is_none_is_efault() {
    own_process!();
    let target = Target::new();
    let (file, other) = (target.file.fd(), TestFile::with(&message(page())));
    let nowhere = Map::anonymous(page(), PROT_NONE);
    let (off, name) = (nowhere.at(0) as *mut i64, nowhere.at(0) as *const libc::c_char);
    let (null, here) = (std::ptr::null_mut(), libc::AT_FDCWD);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"waits").unwrap();
    let efault =
        |what: &str, done: Result<usize, Errno>| assert_eq!(done, Err(Errno(libc::EFAULT)), "{what}");
    // SAFETY: the kernel refuses the addresses that are none, before it changes anything.
    unsafe {
        efault("sendfile", count(libc::sendfile(file, other.fd(), off, 10)));
        efault(
            "sendfile of what is not mapped",
            count(libc::sendfile(writer.as_raw_fd(), other.fd(), off, 10)),
        );
        efault("copy_file_range from", count(libc::copy_file_range(other.fd(), off, file, null, 10, 0)));
        efault("copy_file_range to", count(libc::copy_file_range(other.fd(), null, file, off, 10, 0)));
        efault("splice", count(libc::splice(reader.as_raw_fd(), null, file, off, 5, 0)));
        efault("utimensat", count(libc::utimensat(here, name, std::ptr::null(), 0) as isize));
        efault("utimes", count(libc::utimes(name, std::ptr::null()) as isize));
        efault("truncate", count(libc::truncate(name, 0) as isize));
        efault("open", count(libc::open(name, libc::O_RDWR | libc::O_TRUNC) as isize));
    }
    // And where they are some, they need not be aligned.
    let (mut bytes, mut from) = ([0u8; 16], 0);
    let off = (&raw mut bytes).cast::<u8>().wrapping_add(3).cast::<i64>();
    // SAFETY: eight bytes of the array, which the kernel takes as they lie.
    let sent = count(unsafe { libc::copy_file_range(other.fd(), &mut from, file, off, 10, 0) });
    assert_eq!((sent, bytes[3]), (Ok(10), 10));
    target.assert_holds(0, &message(10), "copy_file_range");
}
