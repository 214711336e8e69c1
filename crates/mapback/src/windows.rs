//! What a library that lives in a Windows program needs beside [`crate::posix`].

use crate::sys::os::{chain, sync};

/// Runs `flush` at the end of the process. `alone`: every other thread has been ended, and may have held any lock.
pub fn last_call(alone: bool, flush: impl FnOnce()) {
    if alone {
        sync::only_thread_left();
    }
    flush();
}

/// Takes back what must not outlive this library's code.
pub fn unload() {
    chain::remove();
}

/// `mlock`, or `munlock`: keeps pages in memory, as far as the process's working set allows.
///
/// # Errors
/// `ENOMEM` for a hole, or where the working set is too small; `EINVAL`.
pub fn lock(addr: usize, len: usize, locked: bool) -> Result<(), crate::Errno> {
    crate::sys::os::mem::lock(addr, len, locked)
}

/// Lets the system itself store into a range of maps, as `ReadFile` and `recv` do: it gets an error for a page that is
/// armed, where the program's own store would be noted. Until [`release`] the pages stay writable.
pub fn prepare(range: core::ops::Range<usize>) {
    crate::track::fault::hold_all(range);
}

/// Ends [`prepare`] of the same range.
pub fn release(range: core::ops::Range<usize>) {
    crate::track::fault::release_all(range);
}
