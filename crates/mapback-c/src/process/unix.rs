//! Exit and fork, of which libc tells us.

use crate::space::existing;

/// What libc calls when the process exits, after all that the program registered and its destructors: these are called
/// from the last to the first, and the number puts ours before the program's own where both are in one file. The library
/// stays loaded until then (`-z nodelete`).
#[used]
#[unsafe(link_section = ".fini_array.00000")]
static LAST: extern "C" fn() = at_exit;

/// Registers what runs around a fork.
pub(super) fn begin() {
    // Whoever links this statically takes both or none.
    core::hint::black_box(&LAST);
    // SAFETY: the functions live as long as the process.
    unsafe {
        libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child));
    }
}

extern "C" fn at_exit() {
    if let Some(space) = existing() {
        space.flush_all();
        space.depart();
    }
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
