//! Who handles SIGSEGV: this library first, for faults of its own making, and then the program.
//!
//! Once [`install`]ed, the kernel knows our handler only. What the program sets by `sigaction` is kept here and
//! called for every fault that is not ours, in the way in which the kernel would have called it: on the
//! alternate stack if asked, with its mask, and with the original `siginfo_t` and context.

use super::signal::{self, Action, How, SIG_DFL, SIG_IGN, SIGSEGV, bit, sa};
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering, fence};
use rustix::io::Errno;

/// Decides whether a fault at an address is ours and resolved. Runs in the handler.
pub(crate) type Resolve = fn(addr: usize) -> bool;

/// The program's action, readable by a handler at any moment: a sequence lock over four words.
struct Kept {
    version: AtomicUsize,
    words: [AtomicU64; 4],
}

static PROGRAM: Kept = Kept { version: AtomicUsize::new(0), words: [const { AtomicU64::new(0) }; 4] };
/// One thread at a time sets the program's action.
static WRITER: crate::sync::Mutex<()> = crate::sync::Mutex::new(());
/// The process whose action [`PROGRAM`] is.
static OWNER: AtomicI32 = AtomicI32::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);
static RESOLVE: AtomicUsize = AtomicUsize::new(0);

impl Kept {
    fn load(&self) -> Action {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let [handler, flags, restorer, mask] =
                core::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return Action { handler: handler as usize, flags, restorer: restorer as usize, mask };
            }
            core::hint::spin_loop();
        }
    }

    /// Callers are serial (they hold the space's lock, or are a handler that resets a one-shot action).
    fn store(&self, action: &Action) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let words = [action.handler as u64, action.flags, action.restorer as u64, action.mask];
        for (word, value) in self.words.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }
}

/// Whether [`install`] was called.
#[inline]
pub(crate) fn installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

/// Puts our handler before the program's. Calling it again is harmless.
///
/// # Errors
/// Those of `rt_sigaction`.
pub(crate) fn install(resolve: Resolve) -> Result<(), Errno> {
    RESOLVE.store(resolve as usize, Ordering::Release);
    if installed() {
        return Ok(());
    }
    // SAFETY: only asks.
    let theirs = unsafe { signal::action(SIGSEGV, None) }?;
    PROGRAM.store(&theirs);
    OWNER.store(super::pid(), Ordering::Relaxed);
    INSTALLED.store(true, Ordering::Release);
    enter_kernel(&theirs)
}

/// In a forked child: what is kept is its own now, and no other thread is changing it.
pub(crate) fn forked() {
    if WRITER.is_locked() {
        // SAFETY: the owner did not come along.
        unsafe { WRITER.force_unlock() };
    }
    OWNER.store(super::pid(), Ordering::Relaxed);
}

/// Tells the kernel our handler, with those of the program's flags that shape how a handler is entered.
fn enter_kernel(theirs: &Action) -> Result<(), Errno> {
    let none = theirs.handler == SIG_DFL || theirs.handler == SIG_IGN;
    let stack = if none { sa::ONSTACK } else { theirs.flags & sa::ONSTACK };
    let ours = Action {
        handler: on_segv as *const () as usize,
        flags: sa::SIGINFO | stack | (theirs.flags & sa::RESTART),
        restorer: 0,
        mask: !0,
    };
    // SAFETY: `on_segv` takes no lock, allocates nothing and calls no libc function.
    unsafe { signal::action(SIGSEGV, Some(&ours)) }.map(drop)
}

/// The program's `sigaction(SIGSEGV, new, …)`: returns what it had set before.
///
/// # Safety
/// As `sigaction`: the handler must be one.
///
/// # Errors
/// Those of `rt_sigaction`.
pub(crate) unsafe fn program_action(new: Option<&Action>) -> Result<Action, Errno> {
    if !installed() {
        // SAFETY: passed on.
        return unsafe { signal::action(SIGSEGV, new) };
    }
    let _blocked = signal::Blocked::new();
    let _alone = WRITER.lock();
    let old = PROGRAM.load();
    let resets = new.is_some_and(|new| new.handler == SIG_DFL || new.handler == SIG_IGN);
    if resets && OWNER.load(Ordering::Relaxed) != super::pid() {
        // A `vfork` child: it borrows our memory, where the parent's action is, and `exec` resets its own anyway.
        return Ok(old);
    }
    if let Some(new) = new {
        // A SIGSEGV that somebody sends now would wait in the handler for what it interrupted.
        let before = signal::mask(How::Block, bit(SIGSEGV));
        PROGRAM.store(new);
        signal::mask(How::Set, before);
        enter_kernel(new)?;
    }
    Ok(old)
}

/// The handler. `errno` is kept because nothing here calls libc.
unsafe extern "C" fn on_segv(signal: i32, info: *mut c_void, context: *mut c_void) {
    const SEGV_ACCERR: i32 = 2;
    // SAFETY: the kernel gives a siginfo_t whose third int is si_code (x86-64, aarch64) and whose address, for
    // a fault, is at byte 16.
    let (code, addr) = unsafe { (*info.cast::<i32>().add(2), *info.cast::<usize>().add(2)) };
    // SAFETY: the context is the kernel's ucontext_t of this very frame.
    if code == SEGV_ACCERR && unsafe { is_write(context, addr) } {
        let resolve = RESOLVE.load(Ordering::Acquire);
        // SAFETY: only `install` stores here, and it stores a `Resolve`.
        let resolve: Resolve = unsafe { core::mem::transmute(resolve) };
        if resolve(addr) {
            return;
        }
    }
    // SAFETY: these are the kernel's own arguments.
    unsafe { pass_on(signal, code, info, context) }
}

/// Whether the fault was a store.
///
/// # Safety
/// `context` must be the ucontext_t that the kernel handed to the handler.
#[cfg(target_arch = "x86_64")]
unsafe fn is_write(context: *mut c_void, _addr: usize) -> bool {
    /// uc_flags, uc_link, uc_stack (3 words), then gregs; REG_ERR is the 19th.
    const ERR: usize = 5 + 19;
    const WRITE: u64 = 2;
    // SAFETY: inside the context, which the caller vouches for.
    unsafe { *context.cast::<u64>().add(ERR) & WRITE != 0 }
}

/// Whether the fault may have been a store: not an instruction fetch. A page of ours refuses nothing else.
///
/// # Safety
/// `context` must be the ucontext_t that the kernel handed to the handler.
#[cfg(target_arch = "aarch64")]
unsafe fn is_write(context: *mut c_void, addr: usize) -> bool {
    /// The byte offset of `uc_mcontext.pc`: 176 (mcontext) + 8 (fault address) + 31 registers + sp.
    const PC: usize = 176 + 8 + 31 * 8 + 8;
    // SAFETY: inside the context, which the caller vouches for.
    unsafe { *context.cast::<u8>().add(PC).cast::<usize>() != addr }
}

/// Gives the signal to the program as the kernel would have done.
///
/// # Safety
/// The arguments must be those of the handler.
unsafe fn pass_on(signal: i32, code: i32, info: *mut c_void, context: *mut c_void) {
    let theirs = PROGRAM.load();
    let sent = code <= 0;
    match theirs.handler {
        SIG_IGN if sent => {}
        SIG_DFL | SIG_IGN => {
            // SAFETY: the default action; the process ends with it.
            let _ = unsafe { signal::action(SIGSEGV, Some(&Action::DEFAULT)) };
            if sent {
                signal::raise(SIGSEGV);
                signal::mask(How::Set, 0);
            }
            // A fault happens again on return, now with the right end.
        }
        handler => {
            if theirs.flags & sa::RESETHAND != 0 {
                PROGRAM.store(&Action::DEFAULT);
            }
            /// Where uc_sigmask lies in the ucontext_t.
            #[cfg(target_arch = "x86_64")]
            const SIGMASK: usize = 5 * 8 + 23 * 8 + 8 + 8 * 8;
            #[cfg(target_arch = "aarch64")]
            const SIGMASK: usize = 40;
            // SAFETY: inside the context that the kernel gave us.
            let before = unsafe { *context.cast::<u8>().add(SIGMASK).cast::<u64>() };
            // SIGSEGV itself stays open: the program's handler may store into a page of ours.
            signal::mask(How::Set, (before | theirs.mask) & !bit(SIGSEGV));
            // SAFETY: the program gave this address as its handler; the form with one argument ignores the rest.
            let handler: extern "C" fn(i32, *mut c_void, *mut c_void) =
                unsafe { core::mem::transmute(handler) };
            handler(signal, info, context);
        }
    }
}
