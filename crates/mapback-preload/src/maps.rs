//! The `mmap` family.

use crate::errno::{address, count, status};
use crate::space;
use libc::{c_int, c_void, off64_t, size_t};
use mapback::posix::{Remap, Request};
use mapback::raw::{self, Sysno};

/// Serves the request or passes it to the kernel.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    off: off64_t,
) -> *mut c_void {
    let req = Request { addr: addr as usize, len, prot, flags, fd, off };
    // SAFETY: the program's own request.
    address(unsafe { space().mmap(req) })
}

/// As `mmap`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    off: off64_t,
) -> *mut c_void {
    // SAFETY: the same function.
    unsafe { mmap(addr, len, prot, flags, fd, off) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(addr: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the program's own request.
    status(unsafe { space().munmap(addr as usize, len) })
}

/// # Safety
/// As libc's. The fifth argument is there only with `MREMAP_FIXED` or `MREMAP_DONTUNMAP`; else it is not looked at.
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(
    old: *mut c_void,
    old_len: size_t,
    new_len: size_t,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    let new = if flags & (libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP) == 0 { 0 } else { new as usize };
    let call = Remap { old: old as usize, old_len, new_len, flags, new };
    // SAFETY: the program's own request.
    address(unsafe { space().mremap(call) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mprotect(addr: *mut c_void, len: size_t, prot: c_int) -> c_int {
    // SAFETY: the program's own request.
    status(unsafe { space().mprotect(addr as usize, len, prot) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn msync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int {
    status(space().msync(addr as usize, len, flags))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int {
    // SAFETY: the program's own request.
    status(unsafe { space().madvise(addr as usize, len, advice) })
}

/// Returns the error instead of setting `errno`; `POSIX_MADV_DONTNEED` discards nothing, as in glibc.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int {
    if advice == libc::POSIX_MADV_DONTNEED {
        return 0;
    }
    // SAFETY: the program's own request.
    unsafe { space().madvise(addr as usize, len, advice) }.map_or_else(|e| e.raw_os_error(), |()| 0)
}

/// The pages of our maps are real pages of the kernel's, which knows best.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mincore(addr: *mut c_void, len: size_t, vec: *mut u8) -> c_int {
    let page = rustix::param::page_size();
    let held = raw::hold(vec as usize..(vec as usize).saturating_add(len.div_ceil(page)));
    // SAFETY: the program's own request.
    let done = unsafe { raw::call(Sysno::mincore, [addr as usize, len, vec as usize, 0, 0, 0]) };
    drop(held);
    count(done) as c_int
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mlock(addr: *const c_void, len: size_t) -> c_int {
    // SAFETY: the program's own request.
    count(unsafe { raw::call(Sysno::mlock, [addr as usize, len, 0, 0, 0, 0]) }) as c_int
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mlock2(addr: *const c_void, len: size_t, flags: c_int) -> c_int {
    // SAFETY: the program's own request.
    count(unsafe { raw::call(Sysno::mlock2, [addr as usize, len, flags as usize, 0, 0, 0]) }) as c_int
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn munlock(addr: *const c_void, len: size_t) -> c_int {
    // SAFETY: the program's own request.
    count(unsafe { raw::call(Sysno::munlock, [addr as usize, len, 0, 0, 0, 0]) }) as c_int
}
