//! What several of these tests need.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

pub const PAGE: usize = 4096;

/// A range of memory that the kernel mapped, until dropped.
pub struct KernelMap {
    pub start: *mut u8,
    len: usize,
}

impl KernelMap {
    /// `mmap` of a file, or of anonymous memory, at an address of the kernel's choice.
    pub fn new(
        file: Option<&std::fs::File>,
        len: usize,
        protection: i32,
        flags: i32,
    ) -> io::Result<KernelMap> {
        let (descriptor, anonymous) = file.map_or((-1, libc::MAP_ANONYMOUS), |file| (file.as_raw_fd(), 0));
        // SAFETY: without MAP_FIXED no existing map is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags | anonymous, descriptor, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(KernelMap { start: start.cast(), len })
    }
}

impl Drop for KernelMap {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and `self` is the only one who hands out its address.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

// SAFETY: the memory belongs to no thread in particular.
unsafe impl Send for KernelMap {}
// SAFETY: sharing it gives out a bare address only.
unsafe impl Sync for KernelMap {}
