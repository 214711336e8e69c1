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
