//! The signal handler: ends a probe that faulted, passes everything else on.
//!
//! It allocates nothing and takes no lock. What it shares is written before the handler that reads it is
//! installed.

use std::cell::Cell;
use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, c_void, sigaction, siginfo_t, ucontext_t};

use super::{Fault, machine};

const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// So often in a row may the handler below claim to have settled one probe's fault.
const RETRIES: u32 = 100_000;

/// Who handled a signal before us.
struct Before {
    /// When we were installed before `main`.
    base: AtomicPtr<sigaction>,
    /// When we were put on top; null if we were not.
    top: AtomicPtr<sigaction>,
}

static BEFORE: [Before; 2] =
    [const { Before { base: AtomicPtr::new(ptr::null_mut()), top: AtomicPtr::new(ptr::null_mut()) } }; 2];

thread_local! {
    /// The handler below us runs: a fault that reaches us now has been passed on by it.
    static ASKING_BELOW: Cell<bool> = const { Cell::new(false) };
    /// The last fault below us that was said to be settled, and how often in a row.
    static SETTLED: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// Runs before `main`, and so before Rust's runtime and the code under test install handlers of their own.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn install_before_main() {
        for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
            // Without a handler a probe's fault kills the program, which tells enough.
            let _ = install(signal, &before.base);
        }
    }
    install_before_main
};

pub(super) fn install_on_top() -> io::Result<()> {
    for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
        if current(signal)?.sa_sigaction != our_address() {
            install(signal, &before.top)?;
        }
    }
    Ok(())
}

fn install(signal: c_int, slot: &AtomicPtr<sigaction>) -> io::Result<()> {
    // The old action is published first: a fault may come right after the change. Leaked, because a handler
    // on another thread may still be reading the one that it replaces.
    slot.store(Box::into_raw(Box::new(current(signal)?)), Ordering::Release);
    // SAFETY: all zeroes is a valid `sigaction`, with an empty mask.
    let mut action: sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = our_address();
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    set(signal, &action)
}

fn our_address() -> usize {
    handle as *const () as usize
}

fn current(signal: c_int) -> io::Result<sigaction> {
    // SAFETY: all zeroes is a valid `sigaction`; the call only fills it in.
    let (result, action) = unsafe {
        let mut action: sigaction = mem::zeroed();
        (libc::sigaction(signal, ptr::null(), &mut action), action)
    };
    if result == 0 { Ok(action) } else { Err(io::Error::last_os_error()) }
}

fn set(signal: c_int, action: &sigaction) -> io::Result<()> {
    // SAFETY: `action` is either our own handler, which is safe to run on any thread, or one that was installed
    // before.
    let result = unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel, or a handler that passes its own arguments on, gives both for the length of the call.
    let (info, context) = unsafe { (&mut *info, &mut *context.cast::<ucontext_t>()) };
    // SAFETY: SIGSEGV and SIGBUS carry an address.
    let fault = Fault { signal, code: info.si_code, addr: unsafe { info.si_addr() } as usize };
    // A signal that somebody sent is no fault, wherever it comes.
    let probe = fault.code > 0 && machine::at_probe(context);
    let before = &BEFORE[usize::from(signal == libc::SIGBUS)];
    let below = before.top.load(Ordering::Acquire);
    if below.is_null() || ASKING_BELOW.get() {
        match probe {
            true => machine::end_probe(context, fault),
            false => pass_on(before.base.load(Ordering::Acquire), signal, info, context),
        }
        return;
    }
    if probe && !may_retry(fault.addr) {
        return machine::end_probe(context, fault);
    }
    ASKING_BELOW.set(true);
    pass_on(below, signal, info, context);
    ASKING_BELOW.set(false);
}

/// Whether a probe's fault at `addr` may be offered to the handler below once more.
fn may_retry(addr: usize) -> bool {
    let (last, times) = SETTLED.get();
    let times = if last == addr { times + 1 } else { 0 };
    SETTLED.set(if times < RETRIES { (addr, times) } else { (0, 0) });
    times < RETRIES
}

/// Calls the handler that was there before, or lets the default happen.
fn pass_on(action: *const sigaction, signal: c_int, info: &mut siginfo_t, context: &mut ucontext_t) {
    // SAFETY: null, or published by `install` and never freed.
    let before = unsafe { action.as_ref() };
    let handler = before.map_or(libc::SIG_DFL, |action| action.sa_sigaction);
    match before {
        Some(action) if handler != libc::SIG_DFL && handler != libc::SIG_IGN => {
            call(action, signal, info, context);
        }
        _ => die(signal, info.si_code),
    }
}

fn call(action: &sigaction, signal: c_int, info: &mut siginfo_t, context: &mut ucontext_t) {
    let handler = action.sa_sigaction;
    if action.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: SA_SIGINFO says that the handler has this signature.
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = unsafe { mem::transmute(handler) };
        handler(signal, info, ptr::from_mut(context).cast());
    } else {
        // SAFETY: without SA_SIGINFO a handler takes the signal alone.
        let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
        handler(signal);
    }
}

/// With the default action back, the faulting instruction is retried on return and ends the program.
fn die(signal: c_int, code: c_int) {
    // SAFETY: all zeroes is the default action.
    let _ = set(signal, &unsafe { mem::zeroed() });
    if code <= 0 {
        // SAFETY: async-signal-safe. A signal that was sent does not come again by itself.
        unsafe { libc::raise(signal) };
    }
}
