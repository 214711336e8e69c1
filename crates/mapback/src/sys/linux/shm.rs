//! Shared-memory objects: the memory behind an image.

use super::fd::{Private, with_room};
use super::mem;
use core::ops::Range;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, SeekFrom};
use rustix::io::Errno;

/// Bytes that one call takes over: large enough that calls cost nothing.
const MOST_TAKEN: u64 = 8 << 20;

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

    /// A file on a file system that is memory.
    pub(crate) fn of(fd: Private) -> Shm {
        Shm { fd }
    }

    /// Device and inode, as `/proc/PID/maps` names the object.
    ///
    /// # Errors
    /// None that an open object has.
    pub(crate) fn identity(&self) -> Result<(u64, u64), Errno> {
        let facts = super::file::facts(self.fd.as_fd())?;
        Ok((facts.dev, facts.ino))
    }

    /// Reads from the object, as far as it has content.
    ///
    /// # Errors
    /// Those of `pread`.
    pub(crate) fn read(&self, buf: &mut [u8], off: u64) -> Result<usize, Errno> {
        // SAFETY: a slice of our own.
        unsafe { super::file::pread(self.fd.as_fd(), buf.as_mut_ptr(), buf.len(), off) }
    }

    /// Fills a buffer from the object, which has to have that much. A call reads a hole without giving it memory, which a
    /// load through a map does, or cannot do and is a SIGBUS; and it may race with stores.
    ///
    /// # Errors
    /// Those of `pread`; `EIO` where the object is shorter.
    pub(crate) fn read_exact(&self, mut buf: &mut [u8], mut off: u64) -> Result<(), Errno> {
        while !buf.is_empty() {
            match self.read(buf, off)? {
                0 => return Err(Errno::IO),
                n => {
                    buf = &mut buf[n..];
                    off += n as u64;
                }
            }
        }
        Ok(())
    }

    /// Gives holes of a range memory, so that stores through a map find it.
    ///
    /// # Errors
    /// `ENOSPC` where the file system is full; `ENOMEM`.
    pub(crate) fn provide(&self, range: Range<u64>) -> Result<(), Errno> {
        rustix::fs::fallocate(&self.fd, FallocateFlags::KEEP_SIZE, range.start, range.end - range.start)
    }

    /// Reads into the program's buffers, up to `most` bytes in all. Returns the bytes read.
    ///
    /// # Safety
    /// Each buffer, by address and length, must be the caller's to write to, or none that the kernel can write to.
    ///
    /// # Errors
    /// Those of `preadv`, above all `EFAULT`.
    pub(crate) unsafe fn read_into(
        &self,
        buffers: &[(usize, usize)],
        most: usize,
        off: u64,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        for (base, len) in buffers {
            let len = (*len).min(most - done);
            if len == 0 {
                continue;
            }
            // SAFETY: the caller's word.
            let n = unsafe { super::file::pread(self.fd.as_fd(), *base as *mut u8, len, off + done as u64) }?;
            done += n;
            if n < len {
                break;
            }
        }
        Ok(done)
    }

    /// Writes into the object. A page that cannot be had is an error here, not a fault at some later time.
    ///
    /// # Safety
    /// `from` must be readable for `len` bytes.
    ///
    /// # Errors
    /// `ENOSPC` where the file system is full; `ENOMEM`.
    pub(crate) unsafe fn write(&self, from: *const u8, len: usize, off: u64) -> Result<(), Errno> {
        let mut done = 0;
        while done < len {
            // SAFETY: inside what the caller vouches for.
            match unsafe {
                super::file::pwrite(self.fd.as_fd(), from.add(done), len - done, off + done as u64, false)
            }? {
                0 => return Err(Errno::IO),
                n => done += n,
            }
        }
        Ok(())
    }

    /// Takes a range of bytes over from a file, without a copy in between. Returns how many it took, which may be fewer for
    /// whatever reason. Nobody else may move this object's position meanwhile.
    pub(crate) fn take(&self, from: BorrowedFd<'_>, range: Range<u64>) -> u64 {
        let mut at = range.start;
        if rustix::fs::seek(&self.fd, SeekFrom::Start(at)).is_err() {
            return 0;
        }
        while at < range.end {
            let len = (range.end - at).min(MOST_TAKEN) as usize;
            let end = at + len as u64;
            match super::file::with_file_size(end, || super::file::send(from, at, self.fd.as_fd(), len)) {
                Ok(n @ 1..) => at += n as u64,
                _ => break,
            }
        }
        at - range.start
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

    /// Makes a range (of bytes) read zero, and gives the memory of its whole pages back.
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
