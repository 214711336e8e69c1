//! Closing and replacing descriptors: mapback's own are not the program's to close.

use crate::next::next;
use crate::{errno, forget_fd};
use libc::{c_int, c_uint};
use mapback::Errno;
use mapback::raw::{close_parked, first_guarded, is_guarded};

next! {
    fn close(fd: c_int) -> c_int;
    fn dup2(old: c_int, new: c_int) -> c_int;
    fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int;
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
}

/// A descriptor that the program never opened is not open to it.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    if is_guarded(fd) {
        errno::set(Errno::BADF);
        return -1;
    }
    // SAFETY: the program's own request.
    let done = unsafe { real::close(fd) };
    forget_fd(fd);
    close_parked();
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup2(old: c_int, new: c_int) -> c_int {
    if is_guarded(old) || is_guarded(new) {
        errno::set(if is_guarded(old) { Errno::BADF } else { Errno::BUSY });
        return -1;
    }
    // SAFETY: the program's own request.
    let done = unsafe { real::dup2(old, new) };
    forget_fd(new);
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    if is_guarded(old) || is_guarded(new) {
        errno::set(if is_guarded(old) { Errno::BADF } else { Errno::BUSY });
        return -1;
    }
    // SAFETY: the program's own request.
    let done = unsafe { real::dup3(old, new, flags) };
    forget_fd(new);
    done
}

/// Closes around mapback's own descriptors.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C-unwind" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    mapback::posix::forget_all_fds();
    let mut from = first;
    while from <= last {
        let Some(ours) = first_guarded(from..last.saturating_add(1)) else { break };
        if from < ours {
            // SAFETY: a part of the program's own request.
            let done = unsafe { real::close_range(from, ours - 1, flags) };
            if done != 0 {
                return done;
            }
        }
        from = ours + 1;
    }
    if from > last && first <= last {
        return 0;
    }
    // SAFETY: the rest of the program's own request.
    unsafe { real::close_range(from, last, flags) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn closefrom(first: c_int) {
    // SAFETY: the program's own request.
    unsafe { close_range(first.max(0) as c_uint, c_uint::MAX, 0) };
}
