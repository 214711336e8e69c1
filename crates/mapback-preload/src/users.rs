//! Becoming another user: what other processes have is looked for among that user's from then on.

use crate::existing;
use crate::next::next;
use libc::{c_int, uid_t};

next! {
    fn setuid(user: uid_t) -> c_int;
    fn seteuid(user: uid_t) -> c_int;
    fn setreuid(real: uid_t, effective: uid_t) -> c_int;
    fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int;
}

/// Looks again, once the process is what it asked to be.
fn changed(done: c_int) -> c_int {
    if done == 0
        && let Some(space) = existing()
    {
        space.user_changed();
    }
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setuid(user: uid_t) -> c_int {
    // SAFETY: the program's own request.
    changed(unsafe { real::setuid(user) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn seteuid(user: uid_t) -> c_int {
    // SAFETY: the program's own request.
    changed(unsafe { real::seteuid(user) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setreuid(real: uid_t, effective: uid_t) -> c_int {
    // SAFETY: the program's own request.
    changed(unsafe { real::setreuid(real, effective) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int {
    // SAFETY: the program's own request.
    changed(unsafe { real::setresuid(real, effective, saved) })
}
