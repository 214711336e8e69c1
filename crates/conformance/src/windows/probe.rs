//! Accesses that may fault, as values, on Windows: a vectored exception handler that comes after mapback's skips the
//! instruction. An access violation counts as SIGSEGV, an in-page error as SIGBUS.

use std::arch::global_asm;
use std::cell::Cell;
use std::sync::Once;
use windows_sys::Win32::Foundation::{EXCEPTION_ACCESS_VIOLATION, EXCEPTION_IN_PAGE_ERROR};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, EXCEPTION_CONTINUE_EXECUTION, EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS,
};

/// The system does not say whether nothing is mapped or the map forbids the access.
pub const SEGV_MAPERR: i32 = 2;
/// See [`SEGV_MAPERR`].
pub const SEGV_ACCERR: i32 = 2;

/// A fault that an access met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// SIGSEGV or SIGBUS
    pub signal: i32,
    /// 2 for either
    pub code: i32,
    /// The address that was accessed
    pub addr: usize,
}

global_asm!(
    ".globl mapback_probe_load",
    "mapback_probe_load:",
    "    movzx eax, byte ptr [rcx]",
    "    ret",
    ".globl mapback_probe_store",
    "mapback_probe_store:",
    "    mov byte ptr [rcx], dl",
    "    xor eax, eax",
    "    ret",
    ".globl mapback_probe_failed",
    "mapback_probe_failed:",
    "    mov eax, -1",
    "    ret",
);

unsafe extern "system" {
    fn mapback_probe_load(addr: usize) -> i32;
    fn mapback_probe_store(addr: usize, value: u8) -> i32;
    fn mapback_probe_failed();
}

thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

unsafe extern "system" fn on_exception(info: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the system hands over pointers to this exception's record and context.
    let (record, context) = unsafe { (&*(*info).ExceptionRecord, &mut *(*info).ContextRecord) };
    let at = context.Rip as usize;
    if at != mapback_probe_load as *const () as usize && at != mapback_probe_store as *const () as usize {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    let signal = match record.ExceptionCode {
        EXCEPTION_ACCESS_VIOLATION => libc::SIGSEGV,
        EXCEPTION_IN_PAGE_ERROR => libc::SIGBUS,
        _ => return EXCEPTION_CONTINUE_SEARCH,
    };
    FAULT.set(Some(Fault { signal, code: 2, addr: record.ExceptionInformation[1] }));
    context.Rip = mapback_probe_failed as *const () as u64;
    EXCEPTION_CONTINUE_EXECUTION
}

fn faulted() -> Option<Fault> {
    FAULT.take()
}

fn install() {
    static DONE: Once = Once::new();
    // SAFETY: the handler touches nothing but its own two instructions.
    DONE.call_once(|| unsafe {
        AddVectoredExceptionHandler(0, Some(on_exception));
    });
}

/// Loads the byte at `addr`, whatever is mapped there.
pub fn load(addr: usize) -> Result<u8, Fault> {
    install();
    // SAFETY: a fault is skipped.
    let value = unsafe { mapback_probe_load(addr) };
    faulted().map_or(Ok(value as u8), Err)
}

/// Stores `value` at `addr`, whatever is mapped there: the test's own memory or nothing.
pub fn store(addr: usize, value: u8) -> Result<(), Fault> {
    install();
    // SAFETY: a fault is skipped; the test passes no address that belongs to Rust.
    unsafe { mapback_probe_store(addr, value) };
    faulted().map_or(Ok(()), Err)
}
