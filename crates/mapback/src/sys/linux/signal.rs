//! Signals below libc: the kernel's own `sigaction` and signal mask.

use super::raw::{Sysno, call};
use core::arch::naked_asm;
use rustix::io::Errno;

/// `SIGBUS`.
pub(crate) const SIGBUS: i32 = 7;
/// `SIGSEGV`.
pub const SIGSEGV: i32 = 11;

/// The kernel's signal set: bit `n − 1` is signal `n`.
pub type Mask = u64;

/// The bit of a signal in a [`Mask`].
pub const fn bit(signal: i32) -> Mask {
    1 << (signal - 1)
}

/// Flags of an action.
pub(crate) mod sa {
    #![allow(missing_docs)]
    pub(crate) const SIGINFO: u64 = 4;
    pub(crate) const RESTORER: u64 = 0x0400_0000;
    pub(crate) const ONSTACK: u64 = 0x0800_0000;
    pub(crate) const RESTART: u64 = 0x1000_0000;
    pub(crate) const RESETHAND: u64 = 0x8000_0000;
}

/// The default action.
pub(crate) const SIG_DFL: usize = 0;
/// The signal is ignored.
pub(crate) const SIG_IGN: usize = 1;

/// `struct kernel_sigaction`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The handler's address, or `SIG_DFL` or `SIG_IGN`.
    pub handler: usize,
    /// `SA_*`.
    pub flags: u64,
    /// What returns from the handler; filled in when `SA_RESTORER` is not set.
    pub restorer: usize,
    /// What is blocked while the handler runs.
    pub mask: Mask,
}

impl Action {
    /// The default action.
    pub(crate) const DEFAULT: Action = Action { handler: SIG_DFL, flags: 0, restorer: 0, mask: 0 };
}

/// Returns from a signal handler. Debuggers and unwinders know these very bytes.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
extern "C" fn restore() {
    naked_asm!("mov rax, 15", "syscall")
}

/// Returns from a signal handler.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
extern "C" fn restore() {
    naked_asm!("mov x8, 139", "svc 0")
}

/// `rt_sigaction`: sets (if `new` is given) and returns the old action.
///
/// # Safety
/// The new handler must be sound to run at any instruction of any thread.
///
/// # Errors
/// `EINVAL` for a signal that cannot be handled.
pub(crate) unsafe fn action(signal: i32, new: Option<&Action>) -> Result<Action, Errno> {
    let mut old = Action::DEFAULT;
    let mut with_restorer;
    let mut new_ptr = 0;
    if let Some(new) = new {
        with_restorer = *new;
        if with_restorer.flags & sa::RESTORER == 0 {
            with_restorer.flags |= sa::RESTORER;
            with_restorer.restorer = restore as *const () as usize;
        }
        new_ptr = &raw mut with_restorer as usize;
    }
    let args = [signal as usize, new_ptr, &raw mut old as usize, size_of::<Mask>(), 0, 0];
    // SAFETY: both pointers are to live structures of the kernel's layout, or null.
    unsafe { call(Sysno::rt_sigaction, args) }?;
    Ok(old)
}

/// How [`mask`] changes the mask.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Block = 0,
    Set = 2,
}

/// Changes this thread's signal mask and returns the old one.
pub(crate) fn mask(how: How, set: Mask) -> Mask {
    let mut old: Mask = 0;
    let args = [how as usize, &raw const set as usize, &raw mut old as usize, size_of::<Mask>(), 0, 0];
    // SAFETY: both pointers are to live words of the size given. The call cannot fail with these arguments.
    let _ = unsafe { call(Sysno::rt_sigprocmask, args) };
    old
}

/// Sends a signal to this very thread.
pub(crate) fn raise(signal: i32) {
    let tid = rustix::thread::gettid().as_raw_nonzero().get() as usize;
    // SAFETY: the call takes no pointer.
    let _ = unsafe { call(Sysno::tgkill, [super::pid() as usize, tid, signal as usize, 0, 0, 0]) };
}

/// All signals blocked but those that a fault raises at the instruction itself, until dropped.
///
/// Held with every lock of this library: a handler that interrupted the owner of a lock and came back to us
/// would wait for ever.
#[derive(Debug)]
pub struct Blocked(Mask);

impl Blocked {
    /// Blocks.
    pub fn new() -> Blocked {
        const SYNCHRONOUS: Mask = bit(4) | bit(5) | bit(SIGBUS) | bit(8) | bit(SIGSEGV) | bit(31);
        Blocked(mask(How::Block, !SYNCHRONOUS))
    }
}

impl Default for Blocked {
    fn default() -> Blocked {
        Blocked::new()
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        mask(How::Set, self.0);
    }
}
