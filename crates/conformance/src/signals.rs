//! The program's own signal handlers.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

/// What the last run of [`note`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many signals have come so far
    pub count: usize,
    /// The signal's number
    pub signal: i32,
    /// `si_code`
    pub code: i32,
    /// `si_addr`
    pub addr: usize,
}

static COUNT: AtomicUsize = AtomicUsize::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDR: AtomicUsize = AtomicUsize::new(0);
static STACK: AtomicUsize = AtomicUsize::new(0);
static MASK: AtomicU64 = AtomicU64::new(0);

/// A handler with SA_SIGINFO.
pub type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// Notes what a handler was given, for [`seen`]; async-signal-safe.
///
/// # Safety
/// `info` is what the handler was given.
pub unsafe fn note(signal: i32, info: *mut libc::siginfo_t) {
    let local = 0u8;
    STACK.store(&raw const local as usize, Ordering::Relaxed);
    MASK.store(blocked(), Ordering::Relaxed);
    SIGNAL.store(signal, Ordering::Relaxed);
    // SAFETY: the kernel, or whoever stands in for it, passes a valid siginfo.
    let (code, addr) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    CODE.store(code, Ordering::Relaxed);
    ADDR.store(addr, Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Release);
}

/// What [`note`] was last given.
pub fn seen() -> Seen {
    Seen {
        count: COUNT.load(Ordering::Acquire),
        signal: SIGNAL.load(Ordering::Relaxed),
        code: CODE.load(Ordering::Relaxed),
        addr: ADDR.load(Ordering::Relaxed),
    }
}

/// An address on the stack that the last noted handler ran on.
pub fn stack_of_handler() -> usize {
    STACK.load(Ordering::Relaxed)
}

/// Whether `signal` was blocked while the last noted handler ran.
pub fn was_blocked_in_handler(signal: i32) -> bool {
    MASK.load(Ordering::Relaxed) >> (signal - 1) & 1 == 1
}

/// Installs `handler`; gives back the action before it.
pub fn install(signal: i32, handler: Handler, flags: i32, mask: &[i32]) -> libc::sigaction {
    let mut action = empty_action();
    action.sa_sigaction = handler as usize;
    action.sa_flags = flags | libc::SA_SIGINFO;
    action.sa_mask = set_of(mask);
    replace(signal, &action)
}

/// Sets a disposition without a handler, SIG_DFL or SIG_IGN.
pub fn dispose(signal: i32, disposition: usize) -> libc::sigaction {
    let mut action = empty_action();
    action.sa_sigaction = disposition;
    replace(signal, &action)
}

/// The present action.
pub fn current(signal: i32) -> libc::sigaction {
    let mut found = empty_action();
    // SAFETY: asks only.
    assert_eq!(unsafe { libc::sigaction(signal, std::ptr::null(), &mut found) }, 0, "sigaction");
    found
}

/// Sets `action`, whatever it is.
pub fn replace(signal: i32, action: &libc::sigaction) -> libc::sigaction {
    let mut old = empty_action();
    // SAFETY: the handlers of the tests have the signature that their flags promise.
    assert_eq!(unsafe { libc::sigaction(signal, action, &mut old) }, 0, "sigaction");
    old
}

/// An action of zeros, which is SIG_DFL.
pub fn empty_action() -> libc::sigaction {
    // SAFETY: plain data that may be zero.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// A set of these signals.
pub fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigemptyset makes the set valid.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// `pthread_sigmask`; gives back the signals, as bits, that were blocked before.
pub fn mask(how: i32, signals: &[i32]) -> u64 {
    let set = set_of(signals);
    change_mask(how, &set)
}

/// The calling thread's blocked signals, as bits.
pub fn blocked() -> u64 {
    change_mask(libc::SIG_BLOCK, std::ptr::null())
}

/// Blocks every signal that can be.
pub fn block_all() -> u64 {
    let mut all = set_of(&[]);
    // SAFETY: fills a valid set.
    unsafe { libc::sigfillset(&mut all) };
    change_mask(libc::SIG_SETMASK, &all)
}

fn change_mask(how: i32, set: *const libc::sigset_t) -> u64 {
    let mut old = set_of(&[]);
    // SAFETY: the set is valid or null, which asks only.
    assert_eq!(unsafe { libc::pthread_sigmask(how, set, &mut old) }, 0, "pthread_sigmask");
    // SAFETY: sigismember only reads.
    (1..=64)
        .filter(|&signal| unsafe { libc::sigismember(&old, signal) } == 1)
        .map(|signal| 1u64 << (signal - 1))
        .sum()
}
