//! L2, L3, within one process: read and write beside the map, and fsync's family.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;

use libc::{MAP_PRIVATE, PROT_READ, iovec};
use mapback_conformance::calls::{count, pread, pwrite};
use mapback_conformance::file::pattern;
use mapback_conformance::map::RW;
use mapback_conformance::{Map, TestFile, own_process, page};

fn expected(len: usize, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(pattern).collect();
    for &(at, value) in changes {
        bytes[at] = value;
    }
    bytes
}

#[test]
fn l02_read_sees_what_is_stored() {
    own_process!();
    let len = 2 * page() + 100;
    let file = TestFile::new(len);
    let map = Map::shared(&file, len);
    for round in 1..4 {
        map.set(7, round);
        map.set(page() + 7, round);
        map.set(len - 1, round);
        let wanted = expected(len, &[(7, round), (page() + 7, round), (len - 1, round)]);
        let mut found = Vec::new();
        file.file().seek(SeekFrom::Start(0)).unwrap();
        file.file().read_to_end(&mut found).unwrap();
        assert!(found == wanted, "read");
        assert!(fs::read(file.path()).unwrap() == wanted, "through another descriptor");
        let mut buffer = vec![0u8; len];
        assert_eq!(pread(file.fd(), buffer.as_mut_ptr() as usize, len, 0), Ok(len));
        assert!(buffer == wanted, "pread");
        buffer.fill(0);
        let (front, back) = buffer.split_at_mut(100);
        let parts = [
            iovec { iov_base: front.as_mut_ptr().cast(), iov_len: front.len() },
            iovec { iov_base: back.as_mut_ptr().cast(), iov_len: back.len() },
        ];
        // SAFETY: the parts are the buffer's halves.
        assert_eq!(count(unsafe { libc::preadv(file.fd(), parts.as_ptr(), 2, 0) }), Ok(len));
        assert!(buffer == wanted, "preadv");
    }
}

#[test]
fn l02_fread_sees_what_is_stored() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    map.set(5, 0xee);
    let path = std::ffi::CString::new(file.path().to_str().unwrap()).unwrap();
    let mut buffer = vec![0u8; page()];
    // SAFETY: the stream is closed at once and the buffer is as long as said.
    unsafe {
        let stream = libc::fopen(path.as_ptr(), c"r".as_ptr());
        assert_eq!(libc::fread(buffer.as_mut_ptr().cast(), 1, page(), stream), page());
        libc::fclose(stream);
    }
    assert_eq!(buffer, expected(page(), &[(5, 0xee)]));
}

#[test]
fn l02_copying_the_file_copies_what_is_stored() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    let wanted = |value| expected(3 * page(), &[(9, value), (2 * page(), value)]);
    let store = |value| [9, 2 * page()].map(|at| map.set(at, value));
    store(1);
    let copy = file.path().with_extension("copy");
    fs::copy(file.path(), &copy).unwrap();
    assert!(fs::read(&copy).unwrap() == wanted(1), "copy");
    store(2);
    let (source, target) = (file.open(libc::O_RDONLY), TestFile::with(b""));
    let (from, null) = (source.as_raw_fd(), std::ptr::null_mut());
    // SAFETY: no memory but null is passed.
    let copied = unsafe { libc::copy_file_range(from, null, target.fd(), null, 3 * page(), 0) };
    assert_eq!(count(copied), Ok(3 * page()));
    assert!(target.stored_all() == wanted(2), "copy_file_range");
    store(3);
    let (source, target) = (file.open(libc::O_RDONLY), TestFile::with(b""));
    // SAFETY: as above.
    let sent = unsafe { libc::sendfile(target.fd(), source.as_raw_fd(), null.cast(), 3 * page()) };
    assert_eq!(count(sent), Ok(3 * page()));
    assert!(target.stored_all() == wanted(3), "sendfile");
}

#[test]
fn l02_write_is_seen_through_the_map() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    let reader = Map::new(3 * page(), PROT_READ, MAP_PRIVATE, file.fd(), 0).unwrap();
    file.file().seek(SeekFrom::Start(10)).unwrap();
    file.file().write_all(&[0xa1; 20]).unwrap();
    assert_eq!(map.bytes(9, 22), [vec![pattern(9)], vec![0xa1; 20], vec![pattern(30)]].concat());
    let bytes = [0xa2u8; 50];
    assert_eq!(pwrite(file.fd(), bytes.as_ptr() as usize, 50, page() as i64 - 25), Ok(50));
    assert_eq!(map.bytes(page() - 25, 50), bytes);
    let parts = [iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: 10 }; 3];
    // SAFETY: the parts are the array's.
    assert_eq!(count(unsafe { libc::pwritev(file.fd(), parts.as_ptr(), 3, 2 * page() as i64) }), Ok(30));
    assert_eq!(map.bytes(2 * page(), 31), [vec![0xa2; 30], vec![pattern(2 * page() + 30)]].concat());
    assert_eq!(reader.get(10), 0xa1, "a private page that nobody has stored into follows the file");
    let other = file.open(libc::O_WRONLY);
    assert_eq!(pwrite(other.as_raw_fd(), [0xa3u8].as_ptr() as usize, 1, 0), Ok(1));
    assert_eq!(map.get(0), 0xa3);
}

#[test]
fn l02_a_store_and_a_write_to_one_page_both_last() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    map.set(0, 0xb1);
    pwrite(file.fd(), [0xb2u8; 4].as_ptr() as usize, 4, 100).unwrap();
    map.set(200, 0xb3);
    assert_eq!((map.get(0), map.get(100), map.get(200)), (0xb1, 0xb2, 0xb3));
    pwrite(file.fd(), [0xb4u8].as_ptr() as usize, 1, 200).unwrap();
    assert_eq!(map.get(200), 0xb4, "the later one counts");
    map.unmap();
    assert_eq!(file.stored_all(), {
        let changes = [(0, 0xb1), (100, 0xb2), (101, 0xb2), (102, 0xb2), (103, 0xb2), (200, 0xb4)];
        expected(page(), &changes)
    });
}

#[test]
fn l02_a_hole_punched_into_the_file_is_seen_through_the_map() {
    own_process!();
    let file = TestFile::new(3 * page());
    let map = Map::shared(&file, 3 * page());
    map.set(page(), 0xc1);
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::fallocate(file.fd(), mode, page() as i64 / 2, page() as i64) }, 0);
    assert_eq!(map.bytes(page() / 2, page()), vec![0; page()]);
    assert_eq!(map.get(page() / 2 - 1), pattern(page() / 2 - 1));
    map.set(page() + 1, 0xc2);
    map.unmap();
    assert_eq!(file.stored(page(), 3), [0, 0xc2, 0]);
}

#[test]
fn l02_private_stores_are_not_seen_by_read() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::new(page(), RW, MAP_PRIVATE, file.fd(), 0).unwrap();
    map.set(0, 0xd1);
    assert_eq!(fs::read(file.path()).unwrap(), expected(page(), &[]));
}

#[test]
fn l03_fsync_and_its_family_write_a_maps_changes() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    let other = file.open(libc::O_RDONLY);
    let (fd, other) = (file.fd(), other.as_raw_fd());
    // SAFETY: no memory is passed; so for the rest.
    let fsync = |fd| unsafe { libc::fsync(fd) };
    // SAFETY: as above.
    let fdatasync = |fd| unsafe { libc::fdatasync(fd) };
    // SAFETY: as above.
    let syncfs = |fd| unsafe { libc::syncfs(fd) };
    let sync = || {
        // SAFETY: as above.
        unsafe { libc::sync() };
        0
    };
    let syncs: [(&str, &dyn Fn() -> i32); 5] = [
        ("fsync", &|| fsync(fd)),
        ("fsync of another descriptor", &|| fsync(other)),
        ("fdatasync", &|| fdatasync(fd)),
        ("syncfs", &|| syncfs(fd)),
        ("sync", &sync),
    ];
    for (round, (name, sync)) in (1u8..).zip(syncs) {
        map.set(0, round);
        map.set(page() + 1, round);
        assert_eq!(sync(), 0, "{name}");
        assert_eq!((file.stored_byte(0), file.stored_byte(page() + 1)), (round, round), "{name}");
    }
}

#[test]
fn l02_flags_that_say_where_a_write_goes_are_followed() {
    own_process!();
    const RWF_NOAPPEND: i32 = 0x20;
    for always in [false, true] {
        let file = TestFile::new(page());
        let before = file.stored_all();
        let append = if always { libc::O_APPEND } else { 0 };
        let writer = file.open(libc::O_RDWR | append);
        let map = Map::shared(&file, page());
        map.set(0, 200);
        let write = |byte: u8, off: i64, flags: i32| {
            let bytes = [byte; 10];
            let part = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            // SAFETY: a buffer that lives through the call.
            unsafe { libc::pwritev2(writer.as_raw_fd(), &part, 1, off, flags) }
        };
        assert_eq!(write(1, 0, libc::RWF_APPEND), 10);
        assert_eq!(map.get(0), 200, "the store is kept: it went to the end");
        // Before Linux 6.9 there is no such flag.
        let placed = match write(2, 50, RWF_NOAPPEND) {
            10 => true,
            other => {
                let error = std::io::Error::last_os_error().raw_os_error();
                assert_eq!((other, error), (-1, Some(libc::EOPNOTSUPP)));
                false
            }
        };
        if placed {
            assert_eq!((map.get(49), map.get(50)), (before[49], 2));
        }
        map.set(100, 201);
        map.sync();
        let mut expected = before;
        (expected[0], expected[100]) = (200, 201);
        if placed {
            expected[50..60].fill(2);
        }
        expected.extend([1; 10]);
        assert!(file.stored_all() == expected, "opened to append: {always}");
    }
}
