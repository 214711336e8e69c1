//! Shared-memory objects: the memory behind an image.

use super::fd::{Private, with_room};
use super::mem;
use core::ops::Range;
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;

/// A memory file of an exact size, which can be mapped any number of times.
#[derive(Debug)]
pub(crate) struct Shm {
    fd: Private,
}

impl Shm {
    /// Makes an empty object.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`, `ENFILE`; `ENOSYS` before Linux 3.17.
    pub(crate) fn new() -> Result<Shm, Errno> {
        let fd = with_room(|| rustix::fs::memfd_create(c"mapback", MemfdFlags::CLOEXEC))?;
        Ok(Shm { fd: Private::new(fd) })
    }

    /// Sets the size in bytes; what is cut off is gone, and touching it through a map is a SIGBUS.
    ///
    /// # Errors
    /// `EFBIG`, `ENOMEM`.
    pub(crate) fn resize(&self, len: u64) -> Result<(), Errno> {
        super::file::with_file_size(len, || rustix::fs::ftruncate(&self.fd, len))
    }

    /// The size in bytes.
    ///
    /// # Errors
    /// None that an open object has.
    pub(crate) fn len(&self) -> Result<u64, Errno> {
        Ok(super::file::facts(self.fd.as_fd())?.len)
    }

    /// The first stretch that has memory, at or after `off` and before `end`.
    pub(crate) fn data(&self, off: u64, end: u64) -> Option<Range<u64>> {
        super::file::data(self.fd.as_fd(), off, end)
    }

    /// Gives the memory of whole pages of `range` (bytes) back; they read zero afterwards.
    ///
    /// # Errors
    /// Those of `fallocate`.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.fd, flags, range.start, range.end - range.start)
    }

    /// Maps the object with the program's own arguments.
    ///
    /// # Safety
    /// As `mmap`: with `MAP_FIXED` it replaces what is mapped there.
    ///
    /// # Errors
    /// Those of `mmap`.
    pub(crate) unsafe fn map(
        &self,
        addr: usize,
        len: usize,
        prot: i32,
        flags: i32,
        off: i64,
    ) -> Result<usize, Errno> {
        // SAFETY: passed on.
        unsafe { mem::mmap(addr, len, prot, flags, self.fd.as_fd().as_raw_fd(), off) }
    }

    /// Maps the first `len` bytes for the library itself.
    ///
    /// # Errors
    /// Those of `mmap`.
    pub(crate) fn window(&self, len: usize) -> Result<usize, Errno> {
        let flags = mem::MAP_SHARED | mem::MAP_NORESERVE;
        // SAFETY: the kernel chooses an address that is free.
        unsafe { self.map(mem::apart(len), len, mem::PROT_READ | mem::PROT_WRITE, flags, 0) }
    }
}
