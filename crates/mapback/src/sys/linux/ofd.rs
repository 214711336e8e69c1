//! Locks of an open file description (OFD locks), each on one byte of a file.
//!
//! The kernel drops them with the last descriptor of the description, so that a killed process holds none, and
//! whether a byte is locked tells whether its owner lives, whatever became of its process id. They do not exclude
//! those who share the description: threads, and a forked child until it has opened the file anew.

use super::raw::{Sysno, call};
use core::ops::Range;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

const F_OFD_GETLK: usize = 36;
const F_OFD_SETLK: usize = 37;
const F_OFD_SETLKW: usize = 38;
const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;

/// Any byte, however far: to the kernel no length means all that follow.
pub(crate) const WHOLE: Range<u64> = 0..0;

/// `struct flock` of 64-bit systems.
#[repr(C)]
struct Flock {
    kind: i16,
    whence: i16,
    start: i64,
    len: i64,
    pid: i32,
}

fn ask(fd: BorrowedFd<'_>, command: usize, kind: i16, bytes: &Range<u64>) -> Result<Flock, Errno> {
    let (start, len) = (bytes.start as i64, (bytes.end - bytes.start) as i64);
    let mut lock = Flock { kind, whence: 0, start, len, pid: 0 };
    let args = [fd.as_raw_fd() as usize, command, &raw mut lock as usize, 0, 0, 0];
    loop {
        // SAFETY: `lock` has the layout of `struct flock` and lives through the call.
        match unsafe { call(Sysno::fcntl, args) } {
            Err(Errno::INTR) => continue,
            other => return other.map(|_| lock),
        }
    }
}

/// Locks a byte, waiting for whoever has it.
///
/// # Errors
/// `EBADF`, `ENOLCK`.
pub(crate) fn lock(fd: BorrowedFd<'_>, byte: u64) -> Result<(), Errno> {
    ask(fd, F_OFD_SETLKW, F_WRLCK, &(byte..byte + 1)).map(drop)
}

/// Locks a byte if nobody has it; whether that was so.
///
/// # Errors
/// As [`lock`].
pub(crate) fn try_lock(fd: BorrowedFd<'_>, byte: u64) -> Result<bool, Errno> {
    match ask(fd, F_OFD_SETLK, F_WRLCK, &(byte..byte + 1)) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Locks a byte together with others who do so.
///
/// # Errors
/// As [`lock`]; `EAGAIN` when somebody has it alone.
pub(crate) fn lock_shared(fd: BorrowedFd<'_>, byte: u64) -> Result<(), Errno> {
    ask(fd, F_OFD_SETLK, F_RDLCK, &(byte..byte + 1)).map(drop)
}

/// Lets go of a byte.
pub(crate) fn unlock(fd: BorrowedFd<'_>, byte: u64) {
    let _ = ask(fd, F_OFD_SETLK, F_UNLCK, &(byte..byte + 1));
}

/// Whether another description has a lock on any byte of a range. Where it cannot be told the answer is yes, the
/// careful one.
pub(crate) fn is_held(fd: BorrowedFd<'_>, bytes: Range<u64>) -> bool {
    ask(fd, F_OFD_GETLK, F_WRLCK, &bytes).map_or(true, |lock| lock.kind != F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;

    fn open(name: &std::path::Path) -> std::fs::File {
        std::fs::File::options().read(true).write(true).create(true).truncate(false).open(name).unwrap()
    }

    #[test]
    fn a_description_excludes_others_and_its_end_frees() {
        let path = std::env::temp_dir().join(format!("mapback-ofd-{}", super::super::pid()));
        let (a, b) = (open(&path), open(&path));
        assert!(try_lock(a.as_fd(), 5).unwrap());
        assert!(try_lock(a.as_fd(), 5).unwrap(), "one's own lock is no obstacle");
        assert!(!try_lock(b.as_fd(), 5).unwrap());
        assert!(try_lock(b.as_fd(), 6).unwrap());
        assert!(is_held(b.as_fd(), 0..6) && !is_held(b.as_fd(), 0..5) && is_held(a.as_fd(), 6..7));
        unlock(b.as_fd(), 6);
        assert!(!is_held(a.as_fd(), 0..100) && !is_held(a.as_fd(), WHOLE));
        assert!(try_lock(a.as_fd(), 1 << 40).unwrap());
        assert!(is_held(b.as_fd(), WHOLE));
        drop(a);
        assert!(!is_held(b.as_fd(), 0..100));
        std::fs::remove_file(path).unwrap();
    }
}
