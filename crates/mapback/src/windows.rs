//! What a library that lives in a Windows program needs beside [`crate::posix`].

use crate::sys::os::{chain, sync};

/// Runs `flush` for the last time before this code goes. `process_ends`: every other thread has been ended, and may
/// have held any lock.
pub fn last_call(process_ends: bool, flush: impl FnOnce()) {
    if process_ends {
        sync::only_thread_left();
    }
    flush();
    if !process_ends {
        chain::remove();
    }
}

/// `mlock`, or `munlock`: keeps pages in memory, as far as the process's working set allows.
///
/// # Errors
/// `ENOMEM` for a hole, or where the working set is too small; `EINVAL`.
pub fn lock(addr: usize, len: usize, locked: bool) -> Result<(), crate::Errno> {
    crate::sys::os::mem::lock(addr, len, locked)
}
