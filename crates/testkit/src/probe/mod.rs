//! Accesses to memory that report a fault instead of dying of it.
//!
//! A probe is a handful of machine instructions at known addresses. A SIGSEGV and SIGBUS handler, installed
//! through the C library as any program would, recognises a fault by the instruction that caused it, notes
//! signal, code and address in the registers, and resumes behind the probe. Every other fault goes to whoever
//! handled the signal before. Nothing is shared between threads, so probes may run in any number at once.
//!
//! ## Who handles the signal first
//!
//! The handler is installed before `main`, below every handler that the code under test installs later: that
//! one sees a probe's fault first, settles it (and the probe is retried) or passes it on to us.
//! [`install_on_top`] puts ours above whatever handles the signals now. A probe's fault is then offered to the
//! one below first, and counts as a fault only if it is passed back to us or not settled by that.
//!
//! One visible effect: Rust's runtime leaves a handler that it finds alone, so that a stack overflow in a
//! program with probes dies of a plain SIGSEGV, without the runtime's message.

mod handler;
#[path = "x86_64.rs"]
mod machine;

use std::fmt;
use std::io;

/// How an access to memory faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `SIGSEGV` or `SIGBUS`.
    pub signal: i32,
    /// `si_code`: `SEGV_MAPERR` (1), `SEGV_ACCERR` (2), `BUS_ADRERR` (2)…
    pub code: i32,
    /// `si_addr`: the address that could not be accessed.
    pub addr: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.signal == libc::SIGBUS { "SIGBUS" } else { "SIGSEGV" };
        write!(f, "{name} (code {}) at {:#x}", self.code, self.addr)
    }
}

impl std::error::Error for Fault {}

/// A slice access that faulted part of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceFault {
    /// How it faulted.
    pub fault: Fault,
    /// So many bytes were transferred before.
    pub done: usize,
}

/// Reads one byte.
///
/// # Safety
/// No other thread may write the byte at the same time, except through probes, atomics or the kernel. The
/// address itself may be anything.
pub unsafe fn load(from: *const u8) -> Result<u8, Fault> {
    // SAFETY: the probe does nothing but read one byte, and recovers if it cannot; the caller rules out races.
    let outcome = unsafe { machine::mapback_probe_load(from) };
    outcome.fault().map_or(Ok(outcome.value as u8), Err)
}

/// Writes one byte.
///
/// # Safety
/// If the address can be written, then it belongs to memory that the caller may overwrite, and no other
/// thread accesses it at the same time, except through probes, atomics or the kernel.
pub unsafe fn store(to: *mut u8, value: u8) -> Result<(), Fault> {
    // SAFETY: the probe does nothing but write one byte, and recovers if it cannot; the caller owns the byte.
    let outcome = unsafe { machine::mapback_probe_store(to, value) };
    outcome.fault().map_or(Ok(()), Err)
}

/// Reads `into.len()` bytes, upwards.
///
/// # Safety
/// As for [`load`], for every byte.
pub unsafe fn load_slice(from: *const u8, into: &mut [u8]) -> Result<(), SliceFault> {
    // SAFETY: `into` is ours to write; the probe recovers where `from` cannot be read.
    unsafe { copy(into.as_mut_ptr(), from, into.len()) }
}

/// Writes all of `bytes`, upwards.
///
/// # Safety
/// As for [`store`], for every byte. `bytes` must not overlap the target.
pub unsafe fn store_slice(to: *mut u8, bytes: &[u8]) -> Result<(), SliceFault> {
    // SAFETY: `bytes` can be read; the probe recovers where `to` cannot be written, and the rest is the caller's.
    unsafe { copy(to, bytes.as_ptr(), bytes.len()) }
}

/// Copies `len` bytes upwards, where either side may fault.
///
/// # Safety
/// As for [`load`] and [`store`], for every byte of the two ranges.
pub unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> Result<(), SliceFault> {
    // SAFETY: the probe touches only the two ranges and recovers at the first byte that faults.
    let outcome = unsafe { machine::mapback_probe_copy(to, from, len) };
    let done = len - outcome.left as usize;
    outcome.fault().map_or(Ok(()), |fault| Err(SliceFault { fault, done }))
}

/// Moves the handler above whatever handles SIGSEGV and SIGBUS now; that one stays reachable through ours.
///
/// A handler below that leaves by `siglongjmp` is not supported: the thread would be taken for one that is still
/// in it.
pub fn install_on_top() -> io::Result<()> {
    handler::install_on_top()
}
