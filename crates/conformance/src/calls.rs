//! The calls under test, with errors as values.
//!
//! Two families: the plain names go through libc's dynamic symbols, which is where an interposer sits; the functions of
//! [`kernel`] are raw system calls, which no interposer sees. The functions are safe to call only by the custom of this
//! crate: a test runs in a process of its own and passes no address but those that it has mapped.

use std::fmt;
#[cfg(unix)]
use std::io;

/// An errno value; prints its text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// The calling thread's errno.
    pub fn last() -> Errno {
        #[cfg(windows)]
        return Errno(libc::errno());
        #[cfg(unix)]
        Errno(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(windows)]
        return write!(f, "errno {}", self.0);
        #[cfg(unix)]
        write!(f, "{}", io::Error::from_raw_os_error(self.0))
    }
}

/// Panics unless `result` is the error `expected`.
#[track_caller]
pub fn assert_errno<T: fmt::Debug>(result: Result<T, Errno>, expected: i32) {
    match result {
        Err(found) => assert_eq!(found, Errno(expected), "another error was expected"),
        Ok(value) => panic!("expected {:?}, but the call succeeded with {value:x?}", Errno(expected)),
    }
}

/// The size of a page.
pub fn page() -> usize {
    #[cfg(windows)]
    return 4096;
    #[cfg(unix)]
    // SAFETY: sysconf only reads a constant of the system.
    unsafe {
        libc::sysconf(libc::_SC_PAGESIZE) as usize
    }
}

fn done(ret: i32) -> Result<(), Errno> {
    if ret == 0 { Ok(()) } else { Err(Errno::last()) }
}

fn address(ret: *mut libc::c_void) -> Result<usize, Errno> {
    if ret == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(ret as usize) }
}

/// `mmap(2)`
pub fn mmap(addr: usize, len: usize, prot: i32, flags: i32, fd: i32, off: i64) -> Result<usize, Errno> {
    // SAFETY: a MAP_FIXED address is one that the test has mapped itself (see the module's head).
    address(unsafe { libc::mmap(addr as *mut _, len, prot, flags, fd, off) })
}

/// `mmap64(2)`
pub fn mmap64(addr: usize, len: usize, prot: i32, flags: i32, fd: i32, off: i64) -> Result<usize, Errno> {
    // SAFETY: as for `mmap`.
    address(unsafe { libc::mmap64(addr as *mut _, len, prot, flags, fd, off) })
}

/// `munmap(2)`
pub fn munmap(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: the range is the test's own; nothing borrows from it.
    done(unsafe { libc::munmap(addr as *mut _, len) })
}

/// `mprotect(2)`
pub fn mprotect(addr: usize, len: usize, prot: i32) -> Result<(), Errno> {
    // SAFETY: the range is the test's own.
    done(unsafe { libc::mprotect(addr as *mut _, len, prot) })
}

/// `msync(2)`
pub fn msync(addr: usize, len: usize, flags: i32) -> Result<(), Errno> {
    // SAFETY: msync changes no memory but, with MS_INVALIDATE, that of the test's own map.
    done(unsafe { libc::msync(addr as *mut _, len, flags) })
}

#[cfg(unix)]
/// `mremap(2)`; `new_addr` counts only with MREMAP_FIXED or MREMAP_DONTUNMAP.
pub fn mremap(addr: usize, len: usize, new_len: usize, flags: i32, new_addr: usize) -> Result<usize, Errno> {
    // SAFETY: both ranges are the test's own.
    address(unsafe { libc::mremap(addr as *mut _, len, new_len, flags, new_addr as *mut libc::c_void) })
}

#[cfg(unix)]
/// `madvise(2)`
pub fn madvise(addr: usize, len: usize, advice: i32) -> Result<(), Errno> {
    // SAFETY: the range is the test's own.
    done(unsafe { libc::madvise(addr as *mut _, len, advice) })
}

#[cfg(unix)]
/// `posix_madvise(3)`, which returns its error instead of setting errno.
pub fn posix_madvise(addr: usize, len: usize, advice: i32) -> Result<(), Errno> {
    // SAFETY: the range is the test's own.
    match unsafe { libc::posix_madvise(addr as *mut _, len, advice) } {
        0 => Ok(()),
        error => Err(Errno(error)),
    }
}

#[cfg(unix)]
/// `mincore(2)`: for each page, whether it is in memory.
pub fn mincore(addr: usize, len: usize) -> Result<Vec<bool>, Errno> {
    let mut resident = vec![0u8; len.div_ceil(page())];
    // SAFETY: the vector has a byte for each page of the range.
    done(unsafe { libc::mincore(addr as *mut _, len, resident.as_mut_ptr()) })?;
    Ok(resident.into_iter().map(|byte| byte & 1 == 1).collect())
}

/// `mlock(2)`
pub fn mlock(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: locking changes no content.
    done(unsafe { libc::mlock(addr as *const _, len) })
}

#[cfg(unix)]
/// `mlock2(2)`
pub fn mlock2(addr: usize, len: usize, flags: u32) -> Result<(), Errno> {
    // SAFETY: locking changes no content.
    done(unsafe { libc::mlock2(addr as *const _, len, flags) })
}

/// `munlock(2)`
pub fn munlock(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: unlocking changes no content.
    done(unsafe { libc::munlock(addr as *const _, len) })
}

/// `ftruncate(2)`
pub fn ftruncate(fd: i32, len: i64) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    done(unsafe { libc::ftruncate(fd, len) })
}

/// `read(2)` into raw memory, as a program reads into its map.
pub fn read(fd: i32, addr: usize, len: usize) -> Result<usize, Errno> {
    // SAFETY: the kernel checks the range itself and fails with EFAULT.
    count(unsafe { libc::read(fd, addr as *mut _, len) })
}

#[cfg(unix)]
/// `pread(2)` into raw memory.
pub fn pread(fd: i32, addr: usize, len: usize, off: i64) -> Result<usize, Errno> {
    // SAFETY: as for `read`.
    count(unsafe { libc::pread(fd, addr as *mut _, len, off) })
}

/// `write(2)` from raw memory.
pub fn write(fd: i32, addr: usize, len: usize) -> Result<usize, Errno> {
    // SAFETY: as for `read`.
    count(unsafe { libc::write(fd, addr as *const _, len) })
}

#[cfg(unix)]
/// `pwrite(2)` from raw memory.
pub fn pwrite(fd: i32, addr: usize, len: usize, off: i64) -> Result<usize, Errno> {
    // SAFETY: as for `read`.
    count(unsafe { libc::pwrite(fd, addr as *const _, len, off) })
}

/// What a call that counts bytes returned.
pub fn count(ret: isize) -> Result<usize, Errno> {
    usize::try_from(ret).map_err(|_| Errno::last())
}

/// Raw system calls: what the kernel itself answers, past any interposer.
#[cfg(unix)]
pub mod kernel {
    use super::{Errno, count};

    /// `mmap(2)`, of the kernel
    pub fn mmap(addr: usize, len: usize, prot: i32, flags: i32, fd: i32, off: i64) -> Result<usize, Errno> {
        // SAFETY: as for the interposable `mmap`.
        let ret = unsafe { libc::syscall(libc::SYS_mmap, addr, len, prot, flags, fd, off) };
        if ret == -1 { Err(Errno::last()) } else { Ok(ret as usize) }
    }

    /// `munmap(2)`, of the kernel
    pub fn munmap(addr: usize, len: usize) -> Result<(), Errno> {
        // SAFETY: only for ranges that `kernel::mmap` returned.
        let ret = unsafe { libc::syscall(libc::SYS_munmap, addr, len) };
        if ret == 0 { Ok(()) } else { Err(Errno::last()) }
    }

    /// `madvise(2)`, of the kernel
    pub fn madvise(addr: usize, len: usize, advice: i32) -> Result<(), Errno> {
        // SAFETY: only for ranges that `kernel::mmap` returned.
        let ret = unsafe { libc::syscall(libc::SYS_madvise, addr, len, advice) };
        if ret == 0 { Ok(()) } else { Err(Errno::last()) }
    }

    /// `pread(2)`, of the kernel
    pub fn pread(fd: i32, buffer: &mut [u8], off: i64) -> Result<usize, Errno> {
        // SAFETY: the buffer is borrowed for the call.
        count(unsafe { libc::syscall(libc::SYS_pread64, fd, buffer.as_mut_ptr(), buffer.len(), off) } as isize)
    }

    /// `pwrite(2)`, of the kernel
    pub fn pwrite(fd: i32, buffer: &[u8], off: i64) -> Result<usize, Errno> {
        // SAFETY: the buffer is borrowed for the call.
        count(unsafe { libc::syscall(libc::SYS_pwrite64, fd, buffer.as_ptr(), buffer.len(), off) } as isize)
    }
}

/// Calls past mapback: by the file's own handle.
#[cfg(windows)]
pub mod kernel {
    pub use crate::file::{pread, pwrite};
}
