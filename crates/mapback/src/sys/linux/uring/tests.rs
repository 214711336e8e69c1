//! Batches against real files of the file system that holds the temporary directory.

use super::*;
use rustix::event::epoll;
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit};
use std::fs::File;
use std::os::unix::fs::FileExt;

fn file(flags: OFlags) -> File {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC | flags;
    let fd = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR);
    File::from(fd.expect("the temporary directory's file system has O_TMPFILE and O_DIRECT"))
}

/// Bytes that tell their place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn write(data: &[u8], off: usize, len: usize) -> Write {
    Write { from: data[off..off + len].as_ptr(), len, off: off as u64, done: None }
}

fn batch(file: &File, depth: u32, writes: &mut [Write]) -> Result<(), Errno> {
    // SAFETY: each test's data outlives the call.
    unsafe { write_batch(file.as_fd(), &[], depth, writes) }
}

fn all_done(writes: &[Write]) {
    for write in writes {
        assert_eq!(write.done, Some(Ok(write.len)), "at {}", write.off);
    }
}

/// Writes every other piece of 1 to 997 bytes, and checks that the others stay zero.
fn pieces(depth: u32) {
    let data = pattern(4 << 20);
    let mut want = vec![0; data.len()];
    let (mut writes, mut at, mut n) = (Vec::new(), 0, 0);
    while at + 997 <= data.len() {
        let len = n * 31 % 997 + 1;
        if n % 2 == 0 {
            writes.push(write(&data, at, len));
            want[at..at + len].copy_from_slice(&data[at..at + len]);
        }
        (at, n) = (at + len, n + 1);
    }
    assert!(writes.len() > 4000);
    let file = file(OFlags::empty());
    file.set_len(data.len() as u64).unwrap();
    batch(&file, depth, &mut writes).unwrap();
    all_done(&writes);
    let mut got = vec![1; data.len()];
    file.read_exact_at(&mut got, 0).unwrap();
    assert!(got == want);
}

#[test]
fn thousands_of_unaligned_writes() {
    pieces(64);
}

#[test]
fn one_at_a_time() {
    pieces(1);
}

#[test]
fn any_depth_is_taken() {
    pieces(0);
    pieces(u32::MAX);
}

/// `len` bytes of a map, so aligned to a page, with a pattern in it.
struct Aligned(mem::OwnMemory);

impl Aligned {
    fn new(len: usize) -> Aligned {
        let mut memory = mem::OwnMemory::default();
        memory.resize(len).unwrap();
        memory.bytes_mut().copy_from_slice(&pattern(len));
        Aligned(memory)
    }

    /// Every page but each third, in an order that is not the file's.
    fn writes(&self) -> Vec<Write> {
        let data = self.0.bytes();
        let pages = data.len() / 4096;
        let pages = (0..pages).map(|n| n * 7 % pages).filter(|n| n % 3 != 0);
        pages.map(|n| write(data, n * 4096, 4096)).collect()
    }

    fn check(&self, file: &File) {
        let data = self.0.bytes();
        let mut memory = mem::OwnMemory::default();
        memory.resize(data.len()).unwrap();
        file.read_exact_at(memory.bytes_mut(), 0).unwrap();
        for (n, got) in memory.bytes().chunks(4096).enumerate() {
            let want = if n % 3 != 0 { &data[n * 4096..][..4096] } else { &[0; 4096][..] };
            assert!(got == want, "page {n}");
        }
    }
}

#[test]
fn direct_writes() {
    let data = Aligned::new(8 << 20);
    let file = file(OFlags::DIRECT);
    file.set_len(8 << 20).unwrap();
    let mut writes = data.writes();
    batch(&file, 64, &mut writes).unwrap();
    all_done(&writes);
    data.check(&file);
}

#[test]
fn each_entry_has_its_own_answer() {
    let data = pattern(8192);
    let file = file(OFlags::empty());
    let mut writes =
        [write(&data, 0, 4096), write(&data, 0, 10), write(&data, 4096, 4096), write(&data, 7, 0)];
    writes[1].off = u64::MAX;
    writes[2].from = core::ptr::without_provenance(4096);
    batch(&file, 2, &mut writes).unwrap();
    let done = writes.map(|w| w.done);
    assert_eq!(done, [Ok(4096), Err(Errno::INVAL), Err(Errno::FAULT), Ok(0)].map(Some));
}

#[test]
fn a_write_into_a_hole_of_memory_is_short() {
    let page = crate::sys::linux::page_size();
    let data = Aligned::new(2 * page);
    // SAFETY: the second page of our own map; it is made accessible again below.
    unsafe { mem::mprotect(data.0.bytes().as_ptr() as usize + page, page, 0) }.unwrap();
    let file = file(OFlags::empty());
    let mut writes = [Write { from: data.0.bytes().as_ptr(), len: 2 * page, off: 0, done: None }];
    batch(&file, 2, &mut writes).unwrap();
    assert_eq!(writes[0].done, Some(Ok(page)));
    assert_eq!(file.metadata().unwrap().len(), page as u64);
}

#[test]
fn a_read_only_descriptor_answers_for_each_entry() {
    let data = pattern(4096);
    let file = file(OFlags::empty());
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let reader = File::open(path).unwrap();
    let mut writes: Vec<_> = (0..300).map(|n| write(&data, n, 9)).collect();
    batch(&reader, 32, &mut writes).unwrap();
    assert!(writes.iter().all(|w| w.done == Some(Err(Errno::BADF))));
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn nothing_to_do() {
    assert_eq!(batch(&file(OFlags::empty()), 8, &mut []), Ok(()));
}

#[test]
fn a_write_put_off_counts_as_not_tried() {
    assert_eq!([-11, -4].map(answer), [None, None]);
    assert_eq!([0, 7, -28].map(answer), [Ok(0), Ok(7), Err(Errno::NOSPC)].map(Some));
}

/// A file of /proc cannot be written without waiting: a worker thread of the kernel writes.
#[test]
fn writes_by_a_worker_of_the_kernel() {
    let same = std::fs::read("/proc/self/coredump_filter").unwrap();
    for flags in [OFlags::NONBLOCK, OFlags::empty()] {
        write_by_worker(flags);
    }
    assert_eq!(std::fs::read("/proc/self/coredump_filter").unwrap(), same);
}

fn write_by_worker(flags: OFlags) {
    const FILE: &str = "/proc/self/coredump_filter";
    let text = [b"0x", std::fs::read(FILE).unwrap().as_slice()].concat();
    let file = rustix::fs::open(FILE, OFlags::WRONLY | OFlags::CLOEXEC | flags, Mode::empty()).unwrap();
    let mut writes = [write(&text, 0, text.len())];
    batch(&File::from(file), 1, &mut writes).unwrap();
    all_done(&writes);
}

/// A ring closed on the program's own thread interrupts it a little later.
#[test]
fn the_caller_is_not_interrupted_afterwards() {
    let data = pattern(4096);
    let (file, mut writes) = (file(OFlags::empty()), [write(&data, 0, 4096)]);
    let none = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    for _ in 0..5 {
        batch(&file, 1, &mut writes).unwrap();
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
        assert_eq!(epoll::wait(&none, &mut events, Some(&wait)), Ok(0));
    }
}

/// Runs a test that looks at, or spoils, what all threads share in a process of its own: `true` in that process, where
/// the test goes on; `false` where it has been run there and passed.
fn alone(test: &str) -> bool {
    const MARK: &str = "MAPBACK_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let name = format!("sys::linux::uring::tests::{test}");
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", &name, "--test-threads=1"]).env(MARK, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn entries(dir: &str) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

fn rings_mapped() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("io_uring")).count()
}

#[test]
fn leaves_nothing_behind() {
    if !alone("leaves_nothing_behind") {
        return;
    }
    let data = pattern(1 << 20);
    let file = file(OFlags::empty());
    let mut writes: Vec<_> = (0..64).map(|n| write(&data, n * 16384 + n, 5000)).collect();
    let before = (entries("/proc/self/fd"), entries("/proc/self/task"), rings_mapped());
    let lines = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let maps = lines();
    for _ in 0..200 {
        batch(&file, 16, &mut writes).unwrap();
        all_done(&writes);
    }
    write_by_worker(OFlags::empty());
    // A thread has ended for us a moment before the kernel takes it off its list.
    for _ in 0..2000 {
        if entries("/proc/self/task") != before.1 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    assert_eq!((entries("/proc/self/fd"), entries("/proc/self/task"), rings_mapped()), before);
    assert_eq!(before.2, 0);
    // The allocator may have taken a map or two of its own; 200 leaks would show.
    assert!(lines() < maps + 20, "{} maps, {maps} before", lines());

    // No descriptor to be had: an error, nothing written, and the limit is the only thing in the way.
    let old = rustix::process::getrlimit(Resource::Nofile);
    let (length, free) = (file.metadata().unwrap().len(), file.as_raw_fd() as u64 + 1);
    file.set_len(0).unwrap();
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(free), maximum: old.maximum })
        .unwrap();
    assert_eq!(batch(&file, 16, &mut writes), Err(Errno::MFILE));
    // One free number: no room to move the ring's descriptor up, and it works where it is.
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(free + 1), maximum: old.maximum })
        .unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    batch(&file, 16, &mut writes).unwrap();
    rustix::process::setrlimit(Resource::Nofile, old).unwrap();
    assert_eq!(file.metadata().unwrap().len(), length);
    assert_eq!(entries("/proc/self/fd"), before.0);
    assert_eq!(rustix::io::fcntl_getfd(&file), Ok(FdFlags::CLOEXEC));
}

/// What happens when somebody replaces the ring's descriptor by a raw system call while writes are in flight.
#[test]
fn waits_without_its_descriptor() {
    if !alone("waits_without_its_descriptor") {
        return;
    }
    let data = Aligned::new(8 << 20);
    let file = file(OFlags::DIRECT);
    file.set_len(8 << 20).unwrap();
    let mut writes = data.writes();
    let count = writes.len();
    // SAFETY: `data` outlives the batch.
    let mut batch = unsafe { Batch::new(file.as_fd(), &[], 256, &mut writes) }.unwrap();
    batch.fill();
    batch.ring.enter(256, 0).unwrap();
    assert_eq!(batch.ring.taken(), 256);
    // SAFETY: this is the offence that is tried here. Forgotten below: the number stays the batch's.
    let mut number = unsafe { OwnedFd::from_raw_fd(batch.ring.fd.as_fd().as_raw_fd()) };
    rustix::io::dup2(&file, &mut number).unwrap();
    core::mem::forget(number);
    assert_eq!(batch.run(), Ok(()));
    drop(batch);
    let (tried, rest) = writes.split_at(256);
    all_done(tried);
    assert!(rest.iter().all(|w| w.done.is_none()) && rest.len() == count - 256);
    assert_eq!(rings_mapped(), 0);
}
