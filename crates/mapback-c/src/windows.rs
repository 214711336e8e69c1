//! Windows: the POSIX names as symbols, and what the headers need there.

use crate::errors;
use crate::mman;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

unsafe extern "C" {
    fn _get_osfhandle(fd: c_int) -> isize;
    fn _errno() -> *mut c_int;
}

/// Tells the C run-time library that this library was linked with of an error.
fn tell_errno() {
    // SAFETY: the errno of this thread.
    unsafe { *_errno() = errors::last() };
}

fn told(status: c_int) -> c_int {
    if status != 0 {
        tell_errno();
    }
    status
}

/// `mmap` with a descriptor of this library's own C run-time library. Programs that include `<sys/mman.h>` use the
/// descriptors of theirs.
///
/// # Safety
/// As `mmap`.
#[unsafe(export_name = "mmap")]
pub unsafe extern "C" fn mmap(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    off: i64,
) -> *mut c_void {
    // SAFETY: a number; what is no descriptor gives INVALID_HANDLE_VALUE (or −2 for one without a file).
    let handle = if fd < 0 { -1 } else { unsafe { _get_osfhandle(fd) } };
    // SAFETY: passed on.
    let mapped = unsafe { mman::mapback_mmap(addr, len, prot, flags, handle.max(-1) as *mut c_void, off) };
    if mapped as usize == usize::MAX {
        tell_errno();
    }
    mapped
}

/// `munmap`
///
/// # Safety
/// As `munmap`.
#[unsafe(export_name = "munmap")]
pub unsafe extern "C" fn munmap(addr: *mut c_void, len: usize) -> c_int {
    // SAFETY: passed on.
    told(unsafe { mman::mapback_munmap(addr, len) })
}

/// `msync`
#[unsafe(export_name = "msync")]
pub extern "C" fn msync(addr: *mut c_void, len: usize, flags: c_int) -> c_int {
    told(mman::mapback_msync(addr, len, flags))
}

/// `mprotect`
///
/// # Safety
/// As `mprotect`.
#[unsafe(export_name = "mprotect")]
pub unsafe extern "C" fn mprotect(addr: *mut c_void, len: usize, prot: c_int) -> c_int {
    // SAFETY: passed on.
    told(unsafe { mman::mapback_mprotect(addr, len, prot) })
}

/// `mlock`
#[unsafe(export_name = "mlock")]
pub extern "C" fn mlock(addr: *const c_void, len: usize) -> c_int {
    told(mapback_mlock(addr, len))
}

/// `munlock`
#[unsafe(export_name = "munlock")]
pub extern "C" fn munlock(addr: *const c_void, len: usize) -> c_int {
    told(mapback_munlock(addr, len))
}

/// `mlock`
#[unsafe(no_mangle)]
pub extern "C" fn mapback_mlock(addr: *const c_void, len: usize) -> c_int {
    errors::status(mapback::windows::lock(addr as usize, len, true))
}

/// `munlock`
#[unsafe(no_mangle)]
pub extern "C" fn mapback_munlock(addr: *const c_void, len: usize) -> c_int {
    errors::status(mapback::windows::lock(addr as usize, len, false))
}

/// `getpagesize`
#[unsafe(export_name = "getpagesize")]
pub extern "C" fn getpagesize() -> c_int {
    4096
}

/// Lets the system store into a range of maps until [`mapback_release`].
#[unsafe(no_mangle)]
pub extern "C" fn mapback_prepare(addr: *const c_void, len: usize) -> c_int {
    mapback::windows::prepare(range(addr, len));
    0
}

/// Ends [`mapback_prepare`] of the same range.
#[unsafe(no_mangle)]
pub extern "C" fn mapback_release(addr: *const c_void, len: usize) -> c_int {
    mapback::windows::release(range(addr, len));
    0
}

fn range(addr: *const c_void, len: usize) -> core::ops::Range<usize> {
    addr as usize..(addr as usize).saturating_add(len)
}

/// True once: the program registers [`mman::mapback_flush`] to run at its exit, as long as other threads live.
#[unsafe(no_mangle)]
pub extern "C" fn mapback_first_use() -> c_int {
    static USED: AtomicBool = AtomicBool::new(false);
    c_int::from(!USED.swap(true, Ordering::AcqRel))
}
