//! Exit and fork, of which libc tells us.

use crate::mman::mapback_flush;
use crate::space::existing;

/// Registers what runs at exit and around a fork.
pub(crate) fn begin() {
    // SAFETY: the functions live as long as this library is loaded; libc takes them away when it is unloaded.
    unsafe {
        libc::atexit(at_exit);
        libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child));
    }
}

extern "C" fn at_exit() {
    mapback_flush();
}

unsafe extern "C" fn before_fork() {
    if let Some(space) = existing() {
        space.before_fork();
    }
}

unsafe extern "C" fn in_parent() {
    if let Some(space) = existing() {
        // SAFETY: libc runs this on the thread on which it ran `before_fork`.
        unsafe { space.after_fork_in_parent() };
    }
}

unsafe extern "C" fn in_child() {
    if let Some(space) = existing() {
        // SAFETY: as above, in the child.
        unsafe { space.after_fork_in_child() };
    }
}
