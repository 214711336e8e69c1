//! libc's convention: −1 and `errno`.

use mapback::Errno;

/// Sets this thread's `errno`.
pub(crate) fn set(errno: Errno) {
    // SAFETY: libc's own cell for this thread.
    unsafe { *libc::__errno_location() = errno.raw_os_error() };
}

/// This thread's `errno`, after a call that failed.
pub(crate) fn last() -> Errno {
    // SAFETY: libc's own cell for this thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// 0, or −1 with `errno`.
pub(crate) fn status(result: Result<(), Errno>) -> i32 {
    count(result.map(|()| 0)) as i32
}

/// A count, or −1 with `errno`.
pub(crate) fn count(result: Result<usize, Errno>) -> isize {
    match result {
        Ok(n) => n as isize,
        Err(errno) => {
            set(errno);
            -1
        }
    }
}

/// An address, or `MAP_FAILED` with `errno`.
pub(crate) fn address(result: Result<usize, Errno>) -> *mut libc::c_void {
    count(result) as usize as *mut libc::c_void
}
