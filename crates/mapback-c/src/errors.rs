//! Errors as C has them: a number, and a text for whoever wants to print one.

use core::cell::Cell;
use core::ffi::{c_int, c_void};
use mapback::Errno;

thread_local! {
    static LAST: Cell<c_int> = const { Cell::new(0) };
}

/// The number of this thread's last error.
pub(crate) fn last() -> c_int {
    LAST.get()
}

/// Notes an error.
pub(crate) fn set(errno: Errno) {
    LAST.set(errno.raw_os_error());
    #[cfg(unix)]
    // SAFETY: libc's own errno of this thread.
    unsafe {
        *libc::__errno_location() = errno.raw_os_error();
    }
}

/// 0, or −1 with the error noted.
pub(crate) fn status(result: Result<(), Errno>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(errno) => {
            set(errno);
            -1
        }
    }
}

/// The address, or `MAP_FAILED` with the error noted.
pub(crate) fn address(result: Result<usize, Errno>) -> *mut c_void {
    match result {
        Ok(addr) => addr as *mut c_void,
        Err(errno) => {
            set(errno);
            usize::MAX as *mut c_void
        }
    }
}
