//! The `mmap` family, by its prefixed names.

use crate::errors::{address, status};
use crate::process::space;
use crate::space::existing;
use core::ffi::{c_int, c_void};
use mapback::posix::Request;

/// `mmap`; on Windows `file` is a HANDLE.
///
/// # Safety
/// As `mmap`: with `MAP_FIXED` what is mapped at the address is replaced.
#[cfg_attr(unix, unsafe(export_name = "mapback_mmap"))]
#[cfg_attr(windows, unsafe(export_name = "mapback_mmap_handle"))]
pub unsafe extern "C" fn mapback_mmap(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    file: File,
    off: i64,
) -> *mut c_void {
    #[cfg(windows)]
    let file = file as isize;
    let request = Request { addr: addr as usize, len, prot, flags, fd: file, off };
    // SAFETY: the caller's own request.
    address(unsafe { space().mmap(request) })
}

/// What a file is named by.
#[cfg(unix)]
pub type File = c_int;
/// What a file is named by.
#[cfg(windows)]
pub type File = *mut c_void;

/// `munmap`
///
/// # Safety
/// As `munmap`: nobody may use the range afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mapback_munmap(addr: *mut c_void, len: usize) -> c_int {
    // SAFETY: the caller's own request.
    status(unsafe { space().munmap(addr as usize, len) })
}

/// `msync`
#[unsafe(no_mangle)]
pub extern "C" fn mapback_msync(addr: *mut c_void, len: usize, flags: c_int) -> c_int {
    status(space().msync(addr as usize, len, flags))
}

/// `mprotect`
///
/// # Safety
/// As `mprotect`: the program must bear the faults that it asks for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mapback_mprotect(addr: *mut c_void, len: usize, prot: c_int) -> c_int {
    // SAFETY: the caller's own request.
    status(unsafe { space().mprotect(addr as usize, len, prot) })
}

/// Writes all changes of all maps back, without waiting for the storage.
#[unsafe(no_mangle)]
pub extern "C" fn mapback_flush() {
    if let Some(space) = existing() {
        space.flush_all();
    }
}
