//! L13 and L14: what else the kernel writes into a program's memory, futexes, and locks inside a map.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::c_void;
use mapback_conformance::calls::{Errno, count};
use mapback_conformance::file::pattern;
use mapback_conformance::process::fork;
use mapback_conformance::{Map, TestFile, own_process, page};

/// A shared map of one page that is clean and tracked.
fn target() -> (TestFile, Map) {
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    map.set(0, pattern(0));
    map.sync();
    (file, map)
}

/// Calls `fill` with an address in a clean page of a map, twice; it returns 0 for success and fills `len` bytes, which
/// must reach the file.
#[track_caller]
fn assert_filled(what: &str, len: usize, fill: impl Fn(*mut c_void) -> i64) {
    let (file, map) = target();
    for at in [64, 2048] {
        let before = map.bytes(at, len);
        let result = fill(map.at(at) as *mut c_void);
        assert!(result >= 0, "{what}: {:?}", Errno::last());
        let after = map.bytes(at, len);
        assert_ne!(after, before, "{what} has written nothing");
        map.sync();
        assert_eq!(file.stored(at, len), after, "{what}: the file after msync");
    }
}

#[test]
fn l13_getrandom_into_a_map() {
    own_process!();
    // SAFETY: `assert_filled` passes addresses with that much room in the test's map; so for each call below.
    assert_filled("getrandom", 200, |buffer| unsafe { libc::getrandom(buffer, 200, 0) } as i64);
    // SAFETY: as above.
    assert_filled("getentropy", 200, |buffer| unsafe { libc::getentropy(buffer, 200) } as i64);
}

#[test]
fn l13_fread_and_fgets_into_a_map() {
    own_process!();
    let source = TestFile::with(&vec![b'x'; 3 * page()]);
    let path = std::ffi::CString::new(source.path().to_str().unwrap()).unwrap();
    let (file, map) = target();
    for (size, at) in [(100, 0), (page() - 500, 200)] {
        // SAFETY: the stream is closed below, and the buffer is in the test's map.
        let got = unsafe {
            let stream = libc::fopen(path.as_ptr(), c"r".as_ptr());
            assert!(!stream.is_null());
            let got = libc::fread(map.at(at) as *mut c_void, 1, size, stream);
            libc::fclose(stream);
            got
        };
        assert_eq!(got, size);
        map.sync();
        assert_eq!(file.stored(at, size), vec![b'x'; size]);
    }
}

#[test]
fn l13_fwrite_from_a_map() {
    own_process!();
    let (_, map) = target();
    let out = TestFile::with(b"");
    let path = std::ffi::CString::new(out.path().to_str().unwrap()).unwrap();
    // SAFETY: the stream is closed at once, and the buffer is in the test's map.
    unsafe {
        let stream = libc::fopen(path.as_ptr(), c"w".as_ptr());
        assert_eq!(libc::fwrite(map.addr() as *const c_void, 1, page(), stream), page());
        assert_eq!(libc::fclose(stream), 0);
    }
    assert_eq!(out.stored_all(), (0..page()).map(pattern).collect::<Vec<_>>());
}

#[test]
fn l13_stat_and_uname_into_a_map() {
    own_process!();
    let other = TestFile::new(1);
    let fd = other.fd();
    // SAFETY: see `l13_getrandom_into_a_map`.
    assert_filled("fstat", size_of::<libc::stat>(), |buffer| unsafe { libc::fstat(fd, buffer.cast()) }
        as i64);
    // SAFETY: as above.
    assert_filled("uname", 65, |buffer| unsafe { libc::uname(buffer.cast()) } as i64);
    // SAFETY: as above.
    assert_filled("fstatfs", size_of::<libc::statfs>(), |buffer| unsafe { libc::fstatfs(fd, buffer.cast()) }
        as i64);
}

#[test]
fn l13_getcwd_and_readlink_into_a_map() {
    own_process!();
    // SAFETY: see `l13_getrandom_into_a_map`.
    assert_filled(
        "getcwd",
        1,
        |buffer| if unsafe { libc::getcwd(buffer.cast(), 1900) }.is_null() { -1 } else { 0 },
    );
    let link = c"/proc/self/exe".as_ptr();
    // SAFETY: as above.
    assert_filled("readlink", 1, |buffer| unsafe { libc::readlink(link, buffer.cast(), 1900) } as i64);
}

#[test]
fn l13_pipe_and_socketpair_into_a_map() {
    own_process!();
    // SAFETY: see `l13_getrandom_into_a_map`; the descriptors leak until the test's process ends.
    assert_filled("pipe", 8, |buffer| unsafe { libc::pipe(buffer.cast()) } as i64);
    // SAFETY: as above.
    assert_filled("socketpair", 8, |buffer| unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, buffer.cast()) as i64
    });
}

#[test]
fn l13_poll_and_epoll_wait_into_a_map() {
    own_process!();
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"!").unwrap();
    let fd = reader.as_raw_fd();
    // SAFETY: see `l13_getrandom_into_a_map`.
    assert_filled("epoll_wait", size_of::<libc::epoll_event>(), |buffer| unsafe {
        let epoll = libc::epoll_create1(0);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0x1234_5678_9abc };
        assert_eq!(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event), 0);
        i64::from(libc::epoll_wait(epoll, buffer.cast(), 1, -1))
    });
    let (file, map) = target();
    let polled: *mut libc::pollfd = (map.at(64) as *mut c_void).cast();
    // SAFETY: the struct lies in the test's map.
    unsafe { polled.write(libc::pollfd { fd, events: libc::POLLIN, revents: 0 }) };
    map.sync();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::poll(polled, 1, -1) }, 1, "{:?}", Errno::last());
    map.sync();
    assert_eq!(file.stored(64 + 6, 2), (libc::POLLIN).to_ne_bytes());
}

#[test]
fn l13_wait_status_and_socket_address_into_a_map() {
    own_process!();
    // SAFETY: see `l13_getrandom_into_a_map`; the child ends at once.
    assert_filled("waitpid", 4, |buffer| unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(42);
        }
        i64::from(libc::waitpid(pid, buffer.cast(), 0))
    });
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // SAFETY: as above; the length says how much room there is.
    assert_filled("getsockname", size_of::<libc::sockaddr_in>(), |buffer| unsafe {
        let mut room = 128;
        i64::from(libc::getsockname(socket.as_raw_fd(), buffer.cast(), &mut room))
    });
}

#[test]
fn l13_process_vm_readv_into_a_map() {
    own_process!();
    let source = [0xabu8; 100];
    // SAFETY: see `l13_getrandom_into_a_map`.
    assert_filled("process_vm_readv", 100, |buffer| unsafe {
        let local = libc::iovec { iov_base: buffer, iov_len: 100 };
        let remote = libc::iovec { iov_base: source.as_ptr() as *mut c_void, iov_len: 100 };
        count(libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0)).map_or(-1, |n| n as i64)
    });
}

fn word(map: &Map, offset: usize) -> &AtomicU32 {
    // SAFETY: aligned, inside the map, and only used atomically.
    unsafe { AtomicU32::from_ptr(map.at(offset) as *mut u32) }
}

/// Sleeps while the word holds `value`.
fn futex_wait(word: &AtomicU32, value: u32) -> Result<(), Errno> {
    while word.load(Ordering::Acquire) == value {
        // SAFETY: the word outlives the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT,
                value,
                std::ptr::null::<libc::timespec>(),
            )
        };
        let error = Errno::last();
        if result == -1 && error.0 != libc::EAGAIN && error.0 != libc::EINTR {
            return Err(error);
        }
    }
    Ok(())
}

fn futex_set(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    // SAFETY: the word outlives the call.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    assert!(woken >= 0, "FUTEX_WAKE: {:?}", Errno::last());
}

const TURNS: u32 = 100;

/// Two sides hand a turn to each other, each asleep while it is the other's: this one begins.
fn lead(mine: &AtomicU32, other: &AtomicU32) -> bool {
    (1..=TURNS).all(|round| {
        futex_set(other, round);
        futex_wait(mine, round - 1).is_ok() && mine.load(Ordering::Acquire) == round
    })
}

/// The other side.
fn follow(mine: &AtomicU32, other: &AtomicU32) -> bool {
    (1..=TURNS).all(|round| {
        let my_turn = futex_wait(mine, round - 1).is_ok() && mine.load(Ordering::Acquire) == round;
        futex_set(other, round);
        my_turn
    })
}

#[test]
fn l13_futexes_in_a_map_between_threads() {
    own_process!();
    let file = TestFile::with(&vec![0; 2 * page()]);
    let map = Map::shared(&file, 2 * page());
    let second = Map::shared(&file, 2 * page()); // a futex is known by its file, not by its address
    std::thread::scope(|scope| {
        let other = scope.spawn(|| follow(word(&map, 8), word(&map, page())));
        assert!(lead(word(&second, page()), word(&second, 8)));
        assert!(other.join().unwrap());
    });
    map.sync();
    assert_eq!(file.stored(8, 4), TURNS.to_ne_bytes());
}

#[test]
fn l13_futexes_in_a_map_between_processes() {
    own_process!();
    let file = TestFile::with(&vec![0; 2 * page()]);
    let map = Map::shared(&file, 2 * page());
    let child = fork(|| follow(word(&map, 8), word(&map, page())));
    assert!(lead(word(&map, page()), word(&map, 8)));
    child.assert_good();
    map.unmap();
    assert_eq!(file.stored(page(), 4), TURNS.to_ne_bytes());
}

#[test]
fn l14_a_process_shared_mutex_in_a_map() {
    own_process!();
    const ROUNDS: u32 = 20_000;
    let file = TestFile::with(&vec![0; page()]);
    let map = Map::shared(&file, page());
    let mutex: *mut libc::pthread_mutex_t = (map.at(128) as *mut c_void).cast();
    // SAFETY: the mutex lies in the map, aligned, and is initialized once, before the fork.
    unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(libc::pthread_mutexattr_init(&mut attributes), 0);
        assert_eq!(libc::pthread_mutexattr_setpshared(&mut attributes, libc::PTHREAD_PROCESS_SHARED), 0);
        assert_eq!(libc::pthread_mutex_init(mutex, &attributes), 0);
    }
    let count_up = || {
        for _ in 0..ROUNDS {
            // SAFETY: an initialized mutex; the counter is only touched under it.
            unsafe {
                assert_eq!(libc::pthread_mutex_lock(mutex), 0);
                let counter = map.addr() as *mut u32;
                counter.write_volatile(counter.read_volatile() + 1);
                assert_eq!(libc::pthread_mutex_unlock(mutex), 0);
            }
        }
        true
    };
    let child = fork(count_up);
    count_up();
    child.assert_good();
    map.sync();
    assert_eq!(file.stored(0, 4), (2 * ROUNDS).to_ne_bytes());
}
