//! Handlers and masks of SIGSEGV, once the `fault` tracker has its own handler in place (L12).
//!
//! The program's handler is kept and called behind ours. SIGSEGV is never really blocked: a store to an armed page
//! while it is would end the process. What the program blocked is remembered per thread, and shown to it.

use crate::errno::{self, status};
use crate::existing;
use crate::next::next;
use core::cell::Cell;
use libc::{c_int, sighandler_t, sigset_t};
use mapback::Errno;
use mapback::posix::Space;
use mapback::raw::signal::{Action, SIGSEGV, bit, segv_action, segv_is_ours};

next! {
    fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int;
    fn signal(number: c_int, handler: sighandler_t) -> sighandler_t;
    fn sigprocmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int;
    fn pthread_sigmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int;
}

thread_local! {
    /// Whether this thread of the program believes SIGSEGV to be blocked.
    static BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// The kernel's form of an action.
fn to_kernel(action: &libc::sigaction) -> Action {
    // SAFETY: a sigset_t begins with the kernel's word.
    let mask = unsafe { *(&raw const action.sa_mask).cast::<u64>() };
    let handler = action.sa_sigaction;
    Action { handler, flags: action.sa_flags as u32 as u64, restorer: 0, mask }
}

/// libc's form of an action.
fn to_libc(action: &Action) -> libc::sigaction {
    // SAFETY: plain old data, for which all zero is valid.
    let mut out: libc::sigaction = unsafe { core::mem::zeroed() };
    out.sa_sigaction = action.handler;
    out.sa_flags = (action.flags & !SA_RESTORER) as c_int;
    // SAFETY: a sigset_t begins with the kernel's word.
    unsafe { *(&raw mut out.sa_mask).cast::<u64>() = action.mask };
    out
}

const SA_RESTORER: u64 = 0x0400_0000;

/// Sets the program's own action for SIGSEGV.
///
/// # Safety
/// As `sigaction`.
unsafe fn program_segv(new: *const libc::sigaction, old: *mut libc::sigaction) -> Result<(), Errno> {
    // SAFETY: the program gave libc these pointers, each null or valid.
    unsafe {
        let new = new.as_ref().map(to_kernel);
        let was = segv_action(new.as_ref())?;
        if let Some(old) = old.as_mut() {
            *old = to_libc(&was);
        }
    }
    Ok(())
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(
    number: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    if !segv_is_ours() {
        // SAFETY: the program's own request.
        return unsafe { real::sigaction(number, new, old) };
    }
    if number == SIGSEGV {
        // SAFETY: as above.
        return status(unsafe { program_segv(new, old) });
    }
    // SAFETY: null or valid, as the program promised libc.
    let Some(action) = (unsafe { new.as_ref() }) else {
        // SAFETY: the program's own request.
        return unsafe { real::sigaction(number, new, old) };
    };
    let mut open = *action;
    // SAFETY: a sigset_t begins with the kernel's word.
    unsafe { *(&raw mut open.sa_mask).cast::<u64>() &= !bit(SIGSEGV) };
    // SAFETY: the program's own request, but that SIGSEGV stays open while the handler runs.
    unsafe { real::sigaction(number, &raw const open, old) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    if number != SIGSEGV || !segv_is_ours() {
        // SAFETY: the program's own request.
        return unsafe { real::signal(number, handler) };
    }
    let new = Action { handler, flags: libc::SA_RESTART as u64, restorer: 0, mask: bit(SIGSEGV) };
    // SAFETY: as above.
    match unsafe { segv_action(Some(&new)) } {
        Ok(was) => was.handler,
        Err(errno) => {
            errno::set(errno);
            libc::SIG_ERR
        }
    }
}

/// Changes the mask without ever blocking SIGSEGV, and shows the program the mask that it believes in.
///
/// # Safety
/// `call` must be libc's function for `how`, and the pointers valid or null.
unsafe fn masked(
    new: *const sigset_t,
    old: *mut sigset_t,
    how: c_int,
    call: impl FnOnce(*const sigset_t, *mut sigset_t) -> c_int,
) -> c_int {
    if !segv_is_ours() {
        return call(new, old);
    }
    let believed = BLOCKED.get();
    let mut open;
    let mut given = new;
    let mut now = believed;
    // SAFETY: null or valid, as the program promised libc.
    if let Some(set) = unsafe { new.as_ref() } {
        open = *set;
        let word = (&raw mut open).cast::<u64>();
        // SAFETY: a sigset_t begins with the kernel's word.
        let has = unsafe { *word } & bit(SIGSEGV) != 0;
        now = match how {
            libc::SIG_BLOCK => believed || has,
            libc::SIG_UNBLOCK => believed && !has,
            _ => has,
        };
        if how != libc::SIG_UNBLOCK {
            // SAFETY: as above.
            unsafe { *word &= !bit(SIGSEGV) };
        }
        given = &raw const open;
    }
    let done = call(given, old);
    if done == 0 {
        // A `vfork` child shares this cell with its parent, whose mask it does not change.
        if existing().is_none_or(Space::is_owner) {
            BLOCKED.set(now);
        }
        if believed && !old.is_null() {
            // SAFETY: libc has just filled it in.
            unsafe { *old.cast::<u64>() |= bit(SIGSEGV) };
        }
    }
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the program's own request.
    unsafe { masked(new, old, how, |new, old| real::sigprocmask(how, new, old)) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the program's own request.
    unsafe { masked(new, old, how, |new, old| real::pthread_sigmask(how, new, old)) }
}
