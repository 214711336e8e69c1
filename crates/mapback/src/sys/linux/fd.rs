//! Descriptors that belong to the library and live in the program's table.
//!
//! A program may close every descriptor that it does not know (`closefrom(3)` in a daemon), so ours sit
//! high in the table and are listed here, where the interposer's `close` looks before it closes.

use super::raw::{Sysno, call};
use core::sync::atomic::{AtomicU64, Ordering};
use rustix::fd::IntoRawFd;
pub(crate) use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;

/// What an object has open.
pub(crate) fn of(file: &impl AsFd) -> BorrowedFd<'_> {
    file.as_fd()
}

/// Its number.
pub(crate) fn raw_of(file: &impl AsRawFd) -> RawFd {
    file.as_raw_fd()
}

/// Descriptors from this number up cannot be listed; they work, unguarded.
pub(crate) const LIMIT: usize = 1 << 20;
/// Where ours begin, if the process may have that many.
const FLOOR: i32 = 640;

static GUARDED: [AtomicU64; LIMIT / 64] = [const { AtomicU64::new(0) }; LIMIT / 64];

/// Whether `fd` is the library's own, which the program must not close or replace.
pub(crate) fn is_guarded(fd: i32) -> bool {
    let n = fd as usize;
    fd >= 0 && n < LIMIT && GUARDED[n / 64].load(Ordering::Relaxed) & (1 << (n % 64)) != 0
}

fn guard(fd: i32, on: bool) {
    let n = fd as usize;
    if n < LIMIT {
        let bit = 1u64 << (n % 64);
        if on {
            GUARDED[n / 64].fetch_or(bit, Ordering::Relaxed);
        } else {
            GUARDED[n / 64].fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// A guarded descriptor, closed by a raw system call when dropped.
#[derive(Debug)]
pub(crate) struct Private(i32);

impl Private {
    /// Keeps a descriptor where it is: moving it would close the old number, and closing any descriptor of a file
    /// drops the process's record locks on it (L10).
    pub(crate) fn stay(fd: OwnedFd) -> Private {
        Private::guarded(fd)
    }

    /// Takes a descriptor that the library just opened, and moves it out of the program's way.
    pub(crate) fn new(fd: OwnedFd) -> Private {
        match Private::duplicate(fd.as_fd()) {
            Ok(high) => {
                close(fd.into_raw_fd());
                high
            }
            Err(_) => Private::guarded(fd),
        }
    }

    /// A duplicate of the program's descriptor: the same open file description.
    ///
    /// # Errors
    /// `EBADF`, or `EMFILE` when the table is full.
    pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<Private, Errno> {
        let again = |least| rustix::io::fcntl_dupfd_cloexec(fd, least);
        // Where the program may have fewer, above all that it may have, if that is allowed.
        let above = || with_limit_lifted(|soft| again(soft.min(LIMIT as u64) as i32));
        again(FLOOR).or_else(|_| above()).or_else(|_| with_room(|| again(3))).map(Private::guarded)
    }

    fn guarded(fd: OwnedFd) -> Private {
        let fd = fd.into_raw_fd();
        guard(fd, true);
        Private(fd)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        guard(self.0, false);
        close(self.0);
    }
}

impl AsFd for Private {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open from construction to drop: the guard keeps the program from closing it.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// Closes by the kernel's call, not libc's: `OwnedFd`'s own drop would go through the program's symbols.
fn close(fd: i32) {
    // SAFETY: both callers own `fd` and forget it with this call. A program that closed it behind our back made the
    // number invalid, which is no reason to end it.
    let _ = unsafe { call(Sysno::close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// Opens something, also when the program has used up all descriptors that it may have: the kernel's own `mmap`
/// needs none, so neither shall ours fail for want of one. The soft limit is lifted for a moment, as far as the hard
/// one allows.
///
/// # Errors
/// Those of `open`.
pub(crate) fn with_room<T>(open: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match open() {
        Err(Errno::MFILE) => with_limit_lifted(|_| open()),
        done => done,
    }
}

/// Opens something while the soft limit is 64 higher, as far as the hard one allows; `open` is given the program's.
fn with_limit_lifted<T>(open: impl Fn(u64) -> Result<T, Errno>) -> Result<T, Errno> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let more = before.current.map(|soft| soft.saturating_add(64));
    let current = more.map(|soft| before.maximum.map_or(soft, |hard| soft.min(hard)));
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current, ..before })?;
    let done = open(before.current.unwrap_or(u64::MAX));
    let _ = setrlimit(Resource::Nofile, before);
    done
}

/// The program's descriptor, for the length of one call.
///
/// # Errors
/// `EBADF` for a negative number.
pub(crate) fn borrow<'a>(fd: i32) -> Result<BorrowedFd<'a>, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not −1. Whether it is open the kernel decides at each call: a closed number gives EBADF.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}
