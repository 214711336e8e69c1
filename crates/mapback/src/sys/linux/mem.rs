//! The address space of this process.

use super::raw::{Sysno, call};
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::io::Errno;

/// `PROT_READ`, as in `<sys/mman.h>`.
pub(crate) const PROT_READ: i32 = 1;
/// `PROT_WRITE`.
pub(crate) const PROT_WRITE: i32 = 2;
/// `PROT_EXEC`.
pub(crate) const PROT_EXEC: i32 = 4;

/// `MAP_SHARED`.
pub(crate) const MAP_SHARED: i32 = 0x01;
/// `MAP_PRIVATE`.
pub(crate) const MAP_PRIVATE: i32 = 0x02;
/// `MAP_SHARED_VALIDATE`.
pub(crate) const MAP_SHARED_VALIDATE: i32 = 0x03;
/// The bits of the flags that hold the type of map.
pub(crate) const MAP_TYPE: i32 = 0x0f;
/// `MAP_FIXED`.
pub(crate) const MAP_FIXED: i32 = 0x10;
/// `MAP_ANONYMOUS`.
pub(crate) const MAP_ANONYMOUS: i32 = 0x20;
/// `MAP_NORESERVE`.
pub(crate) const MAP_NORESERVE: i32 = 0x4000;
/// `MAP_HUGETLB`.
pub(crate) const MAP_HUGETLB: i32 = 0x40000;
/// `MAP_FIXED_NOREPLACE`.
pub(crate) const MAP_FIXED_NOREPLACE: i32 = 0x10_0000;

/// The bytes of address space that a process has at the most (`TASK_SIZE`).
#[cfg(target_arch = "x86_64")]
pub(crate) const USER_SPACE: usize = (1 << 47) - 4096;
/// The bytes of address space that a process has at the most.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const USER_SPACE: usize = 1 << 48;

/// Flags of `mremap`.
pub(crate) const MREMAP_MAYMOVE: i32 = 1;
/// The new address is given.
pub(crate) const MREMAP_FIXED: i32 = 2;
/// The old range stays mapped, empty.
pub(crate) const MREMAP_DONTUNMAP: i32 = 4;

/// Flags of `msync`.
pub(crate) const MS_INVALIDATE: i32 = 2;
/// Synchronous write-back.
pub(crate) const MS_SYNC: i32 = 4;
/// `MS_ASYNC`.
pub(crate) const MS_ASYNC: i32 = 1;

/// Advice that the library has to know.
pub(crate) mod advice {
    #![allow(missing_docs)]
    pub(crate) const DONTNEED: i32 = 4;
    pub(crate) const REMOVE: i32 = 9;
    pub(crate) const DONTFORK: i32 = 10;
    pub(crate) const DOFORK: i32 = 11;
    pub(crate) const HUGEPAGE: i32 = 14;
    pub(crate) const POPULATE_READ: i32 = 22;
    pub(crate) const POPULATE_WRITE: i32 = 23;
    pub(crate) const DONTNEED_LOCKED: i32 = 24;
}

/// `mmap` with the arguments just as the program gave them.
///
/// # Safety
/// As `mmap`: with `MAP_FIXED` it replaces what is mapped there.
pub(crate) unsafe fn mmap(
    addr: usize,
    len: usize,
    prot: i32,
    flags: i32,
    fd: i32,
    off: i64,
) -> Result<usize, Errno> {
    // SAFETY: passed on; mmap reads no memory of ours.
    unsafe { call(Sysno::mmap, [addr, len, prot as usize, flags as usize, fd as usize, off as usize]) }
}

/// Private zeroed memory of this library's own, not counted against overcommit until it is touched.
pub(crate) fn anonymous(len: usize) -> Result<usize, Errno> {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    // SAFETY: the kernel chooses an address that is free.
    unsafe { mmap(apart(len), len, PROT_READ | PROT_WRITE, flags, -1, 0) }
}

/// Where to put memory of the library's own: apart from the program's maps, so that a range which the program just
/// freed stays free for it. Only a hint; the beginning is random, like everything else's.
pub(crate) fn apart(len: usize) -> usize {
    /// Above what programs use from below, below what the kernel uses from above.
    const LOW: usize = 1 << 44;
    const ROOM: usize = 1 << 45;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if NEXT.load(Ordering::Relaxed) == 0 {
        let mut random = [0u8; 4];
        // Without randomness the beginning is fixed; the kernel's own choice would not be worse to guess.
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK);
        let begin = LOW + ((u32::from_ne_bytes(random) as usize) << 12);
        let _ = NEXT.compare_exchange(0, begin, Ordering::Relaxed, Ordering::Relaxed);
    }
    // A gap of a page keeps neighbours from being merged into one map.
    let step = len.saturating_add(2 * super::page_size()) & !(super::page_size() - 1);
    let at = NEXT.fetch_add(step, Ordering::Relaxed);
    if (LOW..LOW + ROOM).contains(&at) { at } else { 0 }
}

/// `munmap`.
///
/// # Safety
/// Nobody may use the range afterwards.
pub(crate) unsafe fn munmap(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: passed on.
    unsafe { call(Sysno::munmap, [addr, len, 0, 0, 0, 0]) }.map(drop)
}

/// `mprotect`.
///
/// # Safety
/// The range must be one whose protection is the caller's to change.
pub(crate) unsafe fn mprotect(addr: usize, len: usize, prot: i32) -> Result<(), Errno> {
    // SAFETY: passed on.
    unsafe { call(Sysno::mprotect, [addr, len, prot as usize, 0, 0, 0]) }.map(drop)
}

/// `mprotect` in the handler of a fault.
///
/// # Safety
/// As [`mprotect`].
pub(crate) unsafe fn protect_in_handler(range: Range<usize>, prot: i32) -> Result<(), Errno> {
    // SAFETY: passed on.
    unsafe { protect(range, prot) }
}

/// `mprotect` of a range.
///
/// # Safety
/// As [`mprotect`].
pub(crate) unsafe fn protect(range: Range<usize>, prot: i32) -> Result<(), Errno> {
    // SAFETY: passed on.
    unsafe { mprotect(range.start, range.len(), prot) }
}

/// `msync` by the kernel.
pub(crate) fn msync(addr: usize, len: usize, flags: i32) -> Result<(), Errno> {
    // SAFETY: msync changes no memory.
    unsafe { call(Sysno::msync, [addr, len, flags as usize, 0, 0, 0]) }.map(drop)
}

/// Whether every page of a range is mapped.
pub(crate) fn is_mapped(range: &Range<usize>) -> bool {
    msync(range.start, range.len(), MS_ASYNC) != Err(Errno::NOMEM)
}

/// `mremap`.
///
/// # Safety
/// As `mremap`: the old range is gone afterwards, and with `MREMAP_FIXED` what was at `new` too.
pub(crate) unsafe fn mremap(
    old: usize,
    old_len: usize,
    new_len: usize,
    flags: i32,
    new: usize,
) -> Result<usize, Errno> {
    // SAFETY: passed on.
    unsafe { call(Sysno::mremap, [old, old_len, new_len, flags as usize, new, 0]) }
}

/// `mlock`, as far as the limit allows.
pub(crate) fn lock(range: &Range<usize>) {
    // SAFETY: mlock changes no memory.
    let _ = unsafe { call(Sysno::mlock, [range.start, range.len(), 0, 0, 0, 0]) };
}

/// `madvise`.
///
/// # Safety
/// Some advice changes content; the range must be the caller's to advise on.
pub(crate) unsafe fn madvise(addr: usize, len: usize, advice: i32) -> Result<(), Errno> {
    // SAFETY: passed on.
    unsafe { call(Sysno::madvise, [addr, len, advice as usize, 0, 0, 0]) }.map(drop)
}

/// Zeroed memory of the library's own, which costs nothing until it is touched.
#[derive(Debug, Default)]
pub(crate) struct OwnMemory {
    addr: usize,
    len: usize,
}

impl OwnMemory {
    /// Makes it `len` bytes long, rounded up to pages; the content stays, what is new is zero.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn resize(&mut self, len: usize) -> Result<(), Errno> {
        let len = crate::page::ceil(len, super::page_size()).ok_or(Errno::NOMEM)?;
        if len > self.len {
            self.addr = if self.len == 0 {
                anonymous(len)?
            } else {
                // SAFETY: the old range is ours; `&mut self` says that nobody looks at it now.
                unsafe { mremap(self.addr, self.len, len, MREMAP_MAYMOVE, 0) }?
            };
            self.len = len;
            // Large pages where they are to be had: touching memory costs more than copying it.
            // SAFETY: our own memory, whose content the advice does not change.
            let _ = unsafe { madvise(self.addr, len, advice::HUGEPAGE) };
        }
        Ok(())
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `addr..addr + len` is a map of ours that lives as long as `self`; an empty slice has a
        // dangling, aligned pointer.
        unsafe { core::slice::from_raw_parts(self.pointer(), self.len) }
    }

    /// The bytes, to write to.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes it the only reference.
        unsafe { core::slice::from_raw_parts_mut(self.pointer(), self.len) }
    }

    fn pointer(&self) -> *mut u8 {
        if self.len == 0 { core::ptr::dangling_mut() } else { self.addr as *mut u8 }
    }
}

impl Drop for OwnMemory {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: ours, and nobody can hold a reference into it any more.
            let _ = unsafe { munmap(self.addr, self.len) };
        }
    }
}
