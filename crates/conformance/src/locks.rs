//! Record locks, set and looked at.

use std::os::fd::AsRawFd;

use crate::TestFile;

/// A write lock on `len` bytes from `start`; 0 means all that follows.
pub fn write_lock(start: i64, len: i64) -> libc::flock {
    // SAFETY: plain data that may be zero.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as i16;
    (lock.l_start, lock.l_len) = (start, len);
    lock
}

/// Who keeps this process from locking byte `at`: a process's number, -1 for an open file, or nobody.
pub fn holder(file: &TestFile, at: i64) -> Option<i32> {
    let mut lock = write_lock(at, 1);
    // SAFETY: the struct lives through the call.
    let asked = unsafe { libc::fcntl(file.file().as_raw_fd(), libc::F_GETLK, &mut lock) };
    assert_eq!(asked, 0, "F_GETLK: {}", std::io::Error::last_os_error());
    (i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid)
}

/// Whether an flock of another open file keeps the test from having one.
pub fn is_flocked(file: &TestFile) -> bool {
    let again = file.open(libc::O_RDWR);
    // SAFETY: no memory is passed.
    unsafe { libc::flock(again.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) != 0 }
}
