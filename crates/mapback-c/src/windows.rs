//! Windows: the POSIX names as symbols, and the end of the process or of the DLL.

use crate::errors;
use crate::mman;
use crate::space::existing;
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

/// What the loader calls when a thread or the process begins or ends.
type TlsCallback = unsafe extern "system" fn(*mut c_void, u32, *mut c_void);

#[used]
#[unsafe(link_section = ".CRT$XLC")]
static CALLBACK: TlsCallback = on_event;

/// Sees to it that the process's end is noticed: by [`CALLBACK`], which this keeps the linker from leaving out, and
/// by the C run-time library, which calls a program's own handlers while other threads still run.
pub(crate) fn begin() {
    unsafe extern "C" {
        fn atexit(run: extern "C" fn()) -> c_int;
    }
    // SAFETY: a static of this very file; a function that lives as long as the library.
    unsafe {
        (&raw const CALLBACK).read_volatile();
        atexit(at_exit);
    }
}

extern "C" fn at_exit() {
    // In a DLL this is called only when other threads are gone.
    finish(process_ends());
}

fn process_ends() -> bool {
    #[link(name = "ntdll", kind = "raw-dylib")]
    unsafe extern "system" {
        fn RtlDllShutdownInProgress() -> u8;
    }
    // SAFETY: asks.
    unsafe { RtlDllShutdownInProgress() != 0 }
}

fn finish(alone: bool) {
    if let Some(space) = existing() {
        mapback::windows::last_call(alone, || space.finish_all());
    }
}

unsafe extern "system" fn on_event(_module: *mut c_void, reason: u32, _reserved: *mut c_void) {
    const DLL_PROCESS_DETACH: u32 = 0;
    if reason == DLL_PROCESS_DETACH {
        let ends = process_ends();
        finish(ends);
        if !ends {
            mapback::windows::unload();
        }
    }
}
