//! What an interposer needs below libc: raw system calls, whose descriptors are ours, signals.

use crate::sys::Errno;
use crate::sys::os;
pub use crate::sys::os::raw::Sysno;
pub use crate::track::fault::{Held, hold};
use core::ops::Range;

/// Makes a system call as the program gave it.
///
/// # Safety
/// The call's own contract.
///
/// # Errors
/// What the kernel answers.
pub unsafe fn call(nr: Sysno, args: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: passed on.
    unsafe { os::raw::call(nr, args) }
}

/// As [`call`], for a number that may be unknown here.
///
/// # Safety
/// The call's own contract.
///
/// # Errors
/// What the kernel answers.
pub unsafe fn call_number(number: usize, args: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: passed on.
    unsafe { os::raw::call_number(number, args) }
}

/// Whether a descriptor is mapback's own, which the program must not close or replace.
pub fn is_guarded(fd: i32) -> bool {
    os::fd::is_guarded(fd)
}

/// Whether any descriptor in a range of numbers is mapback's own; the first that is.
pub fn first_guarded(mut range: Range<u32>) -> Option<u32> {
    range.end = range.end.min(os::fd::LIMIT as u32);
    range.find(|fd| is_guarded(*fd as i32))
}

/// Does something that makes or fills a file of `len` bytes with the soft `RLIMIT_FSIZE` lifted.
///
/// # Errors
/// `EFBIG` where the hard limit is too small; those of `act`.
pub fn with_file_size<T>(len: u64, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    os::file::with_file_size(len, act)
}

/// Closes handles that waited for the program to release its record locks.
pub fn close_parked() {
    crate::store::close_parked();
}

/// Signals, as far as an interposer has to come between the program and the kernel.
pub mod signal {
    use super::*;
    pub use crate::sys::os::signal::{Action, Blocked, Mask, SIGSEGV, bit};

    /// `rt_sigaction`, below libc.
    ///
    /// # Safety
    /// As `sigaction`.
    ///
    /// # Errors
    /// Those of `rt_sigaction`.
    pub unsafe fn kernel_action(signal: i32, new: Option<&Action>) -> Result<Action, Errno> {
        // SAFETY: passed on.
        unsafe { os::signal::action(signal, new) }
    }

    /// The program's `sigaction` for SIGSEGV, behind the `fault` tracker's own handler if that is installed.
    ///
    /// # Safety
    /// As `sigaction`.
    ///
    /// # Errors
    /// Those of `rt_sigaction`.
    pub unsafe fn segv_action(new: Option<&Action>) -> Result<Action, Errno> {
        // SAFETY: passed on.
        unsafe { os::chain::program_action(new) }
    }

    /// Ends the process by a signal, whatever the program made of it.
    pub fn die(number: i32) {
        // SAFETY: the default action ends the process; nothing runs after it.
        let _ = unsafe { os::signal::action(number, Some(&Action::DEFAULT)) };
        os::signal::raise(number);
        os::signal::mask(os::signal::How::Set, 0);
    }

    /// Whether the `fault` tracker's handler is installed, so that SIGSEGV must never really be blocked.
    #[inline]
    pub fn segv_is_ours() -> bool {
        os::chain::installed()
    }
}
