//! Probes beside a handler that makes armed pages writable, as the `fault` tracker does: above it and below it.
//!
//! One program with a single test, since signal handlers belong to the whole process.

mod support;

use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use libc::{MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE, SIGSEGV, c_int, c_void, siginfo_t};
use mapback_testkit::probe;
use support::{KernelMap, PAGE};

const PAGES: usize = 64;

static ARMED: AtomicUsize = AtomicUsize::new(0);
static SETTLED: AtomicUsize = AtomicUsize::new(0);
static PASSED_ON: AtomicUsize = AtomicUsize::new(0);
static BEFORE: AtomicUsize = AtomicUsize::new(0);

/// A tracker in miniature: notes a store to an armed page, lets it through, and chains all other faults.
extern "C" fn tracker(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's, or passed on from the kernel.
    let addr = unsafe { (*info).si_addr() } as usize;
    let armed = ARMED.load(SeqCst);
    if (armed..armed + PAGES * PAGE).contains(&addr) {
        SETTLED.fetch_add(1, SeqCst);
        protect(addr & !(PAGE - 1), PAGE, PROT_READ | PROT_WRITE);
        return;
    }
    PASSED_ON.fetch_add(1, SeqCst);
    // SAFETY: what was installed before has this signature: it is the probes' handler.
    let before: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
        unsafe { mem::transmute(BEFORE.load(SeqCst)) };
    before(signal, info, context);
}

fn protect(start: usize, len: usize, protection: c_int) {
    // SAFETY: only ever called on the armed map.
    assert_eq!(unsafe { libc::mprotect(start as *mut c_void, len, protection) }, 0);
}

fn install_tracker() {
    // SAFETY: all zeroes is a valid `sigaction`; the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        let mut before: libc::sigaction = mem::zeroed();
        action.sa_sigaction = tracker as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(SIGSEGV, ptr::null(), &mut before), 0);
        assert_ne!(before.sa_flags & libc::SA_SIGINFO, 0, "the probes' handler is there before main");
        BEFORE.store(before.sa_sigaction, SeqCst);
        assert_eq!(libc::sigaction(SIGSEGV, &action, ptr::null_mut()), 0);
    }
}

/// Stores to armed pages succeed and are noted, faults are reported, from several threads at once.
fn exercise(armed: &KernelMap, forbidden: &KernelMap) {
    SETTLED.store(0, SeqCst);
    PASSED_ON.store(0, SeqCst);
    protect(armed.start as usize, PAGES * PAGE, PROT_READ);
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for page in (thread..PAGES).step_by(4) {
                    let at = armed.start.wrapping_add(page * PAGE + thread);
                    // SAFETY: the byte is this thread's.
                    unsafe {
                        assert_eq!(probe::store(at, page as u8), Ok(()));
                        assert_eq!(probe::load(at), Ok(page as u8));
                        let fault = probe::load(forbidden.start).unwrap_err();
                        assert_eq!((fault.signal, fault.addr), (SIGSEGV, forbidden.start as usize));
                    }
                }
            });
        }
    });
    assert_eq!(SETTLED.load(SeqCst), PAGES);
    assert_eq!(PASSED_ON.load(SeqCst), PAGES);
    // A copy over many armed pages faults once for each and is not cut short.
    protect(armed.start as usize, PAGES * PAGE, PROT_READ);
    // SAFETY: the threads have ended; the map is ours.
    unsafe { probe::store_slice(armed.start, &vec![7; PAGES * PAGE]).unwrap() };
    assert_eq!(SETTLED.load(SeqCst), 2 * PAGES);
}

/// An ordinary fault, outside of any probe, still ends the program by its signal.
fn dies_of_its_own_fault(forbidden: &KernelMap) {
    // SAFETY: the child does nothing but fault.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: it is not: that is the point. The fault ends the child.
        unsafe { forbidden.start.write_volatile(1) };
        // SAFETY: leaves without running the test harness's exit.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(std::process::ExitStatus::from_raw(status).signal(), Some(SIGSEGV));
}

#[test]
fn works_below_and_above_another_handler() {
    let armed = KernelMap::new(None, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE).unwrap();
    let forbidden = KernelMap::new(None, PAGE, PROT_NONE, MAP_PRIVATE).unwrap();
    ARMED.store(armed.start as usize, SeqCst);
    dies_of_its_own_fault(&forbidden);
    install_tracker();
    exercise(&armed, &forbidden);
    dies_of_its_own_fault(&forbidden);
    probe::install_on_top().unwrap();
    exercise(&armed, &forbidden);
    dies_of_its_own_fault(&forbidden);
}
