//! Who handles access violations: this library first, for those of its own making, then whoever was there before.
//!
//! The handler is a vectored one. It hands on all that it does not resolve, with nothing changed but this: an access
//! to a page of a map that lies past the end of its file becomes an `EXCEPTION_IN_PAGE_ERROR`, which is what the
//! system's own file views raise, and what stands for SIGBUS on Windows.

use super::errno::Errno;
use super::past;
use core::sync::atomic::{AtomicUsize, Ordering};
use windows_sys::Win32::Foundation::{
    EXCEPTION_ACCESS_VIOLATION, EXCEPTION_IN_PAGE_ERROR, GetLastError, STATUS_END_OF_FILE, SetLastError,
};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, EXCEPTION_CONTINUE_EXECUTION, EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS,
};

/// Decides whether a fault at an address is ours and resolved. Runs in the handler.
pub(crate) type Resolve = fn(addr: usize) -> bool;

static RESOLVE: AtomicUsize = AtomicUsize::new(0);
static HANDLE: AtomicUsize = AtomicUsize::new(0);
static LOCK: super::sync::Mutex<()> = super::sync::Mutex::new(());

/// Puts our handler before all others that there are now. Calling it again is harmless.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn install(resolve: Resolve) -> Result<(), Errno> {
    RESOLVE.store(resolve as usize, Ordering::Release);
    watch()
}

/// As [`install`], for what the handler does without a tracker.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn watch() -> Result<(), Errno> {
    let _alone = LOCK.lock();
    if HANDLE.load(Ordering::Acquire) != 0 {
        return Ok(());
    }
    // SAFETY: `on_exception` is sound to run at any instruction of any thread: see there.
    let handle = unsafe { AddVectoredExceptionHandler(1, Some(on_exception)) };
    if handle.is_null() {
        return Err(Errno::NOMEM);
    }
    HANDLE.store(handle as usize, Ordering::Release);
    Ok(())
}

/// Takes the handler away, before this library's code is.
pub(crate) fn remove() {
    use windows_sys::Win32::System::Diagnostics::Debug::RemoveVectoredExceptionHandler;
    let handle = HANDLE.swap(0, Ordering::AcqRel);
    if handle != 0 {
        // SAFETY: what `AddVectoredExceptionHandler` returned, given back once.
        unsafe { RemoveVectoredExceptionHandler(handle as *const _) };
    }
}

/// The handler. It allocates nothing, takes no lock and keeps the thread's last error.
unsafe extern "system" fn on_exception(info: *mut EXCEPTION_POINTERS) -> i32 {
    const WRITE: usize = 1;
    // SAFETY: the system hands over pointers to this very exception's record.
    let record = unsafe { &mut *(*info).ExceptionRecord };
    if record.ExceptionCode != EXCEPTION_ACCESS_VIOLATION || record.NumberParameters < 2 {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    let [access, addr] = [record.ExceptionInformation[0], record.ExceptionInformation[1]];
    // SAFETY: reads and sets a number of this thread's own.
    let last = unsafe { GetLastError() };
    let past = past::contains(addr);
    let resolve = RESOLVE.load(Ordering::Acquire);
    let mut retry = false;
    if access == WRITE && resolve != 0 && !past {
        // SAFETY: only `install` stores here, and it stores a `Resolve`.
        let resolve: Resolve = unsafe { core::mem::transmute(resolve) };
        retry = resolve(addr);
    }
    // SAFETY: as above.
    unsafe { SetLastError(last) };
    if retry {
        return EXCEPTION_CONTINUE_EXECUTION;
    }
    if past {
        record.ExceptionCode = EXCEPTION_IN_PAGE_ERROR;
        record.NumberParameters = 3;
        record.ExceptionInformation[2] = STATUS_END_OF_FILE as u32 as usize;
    }
    EXCEPTION_CONTINUE_SEARCH
}
