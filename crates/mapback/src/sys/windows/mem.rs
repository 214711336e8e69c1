//! The address space of this process, as POSIX has it. The rules are in [`super::space`].

use super::reservation;
use super::space::SPACE;
use crate::sys::Errno;
use core::ops::Range;
use windows_sys::Win32::System::Memory as w;

/// `PROT_READ`, as in our `<sys/mman.h>`.
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
/// `MAP_FIXED_NOREPLACE`.
pub(crate) const MAP_FIXED_NOREPLACE: i32 = 0x10_0000;

/// Flags of `msync`.
pub(crate) const MS_ASYNC: i32 = 1;
/// Takes over what the file holds now.
pub(crate) const MS_INVALIDATE: i32 = 2;
/// Synchronous write-back.
pub(crate) const MS_SYNC: i32 = 4;

/// The bytes of address space that a process has at the most.
pub(crate) const USER_SPACE: usize = 1 << 47;

/// Private zeroed memory of this library's own.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn anonymous(len: usize) -> Result<usize, Errno> {
    let kind = w::MEM_RESERVE | w::MEM_COMMIT;
    // SAFETY: the system chooses an address that is free.
    let at = unsafe { w::VirtualAlloc(core::ptr::null(), len.max(1), kind, w::PAGE_READWRITE) };
    if at.is_null() { Err(Errno::NOMEM) } else { Ok(at as usize) }
}

/// `munmap`.
///
/// # Safety
/// Nobody may use the range afterwards.
///
/// # Errors
/// Those of `munmap`.
pub(crate) unsafe fn munmap(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: passed on.
    unsafe { SPACE.lock().munmap(checked(addr, len)?) }
}

/// `mprotect`, for all who are not the exception handler.
///
/// # Safety
/// The range must be one whose protection is the caller's to change.
///
/// # Errors
/// Those of `mprotect`.
pub(crate) unsafe fn mprotect(addr: usize, len: usize, prot: i32) -> Result<(), Errno> {
    if prot & !(PROT_READ | PROT_WRITE | PROT_EXEC) != 0 {
        return Err(Errno::INVAL);
    }
    if len == 0 && addr.is_multiple_of(super::PAGE) {
        return Ok(());
    }
    let range =
        checked(addr, len).map_err(|e| if addr.is_multiple_of(super::PAGE) { Errno::NOMEM } else { e })?;
    // SAFETY: passed on.
    unsafe { SPACE.lock().mprotect(range, prot) }
}

/// `mprotect` of a range.
///
/// # Safety
/// As [`mprotect`].
///
/// # Errors
/// As [`mprotect`].
pub(crate) unsafe fn protect(range: Range<usize>, prot: i32) -> Result<(), Errno> {
    if range.is_empty() {
        return Ok(());
    }
    // SAFETY: passed on.
    unsafe { mprotect(range.start, range.len(), prot) }
}

/// Sets the actual protection of pages that have memory, in the exception handler.
///
/// # Safety
/// As [`mprotect`].
///
/// # Errors
/// `ENOMEM`.
pub(crate) unsafe fn protect_in_handler(range: Range<usize>, prot: i32) -> Result<(), Errno> {
    // SAFETY: passed on.
    unsafe { reservation::protect(&range, prot) }
}

/// The checks of `msync`: its arguments, and that all of the range is mapped.
///
/// # Errors
/// `EINVAL`, `ENOMEM`.
pub(crate) fn msync(addr: usize, len: usize, flags: i32) -> Result<(), Errno> {
    let both = flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC;
    if both || flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0 || !addr.is_multiple_of(super::PAGE) {
        return Err(Errno::INVAL);
    }
    if len == 0 {
        return Ok(());
    }
    let range = checked(addr, len).map_err(|_| Errno::NOMEM)?;
    let space = SPACE.lock();
    if !space.is_mapped(&range) {
        return Err(Errno::NOMEM);
    }
    if flags & MS_INVALIDATE != 0 && space.is_locked(&range) {
        return Err(Errno::BUSY);
    }
    Ok(())
}

/// `mlock`, or `munlock`; an address inside a page counts as the page's.
///
/// # Errors
/// `ENOMEM`, `EINVAL`.
pub(crate) fn lock(addr: usize, len: usize, locked: bool) -> Result<(), Errno> {
    let start = crate::page::floor(addr, super::PAGE);
    let len = len.checked_add(addr - start).ok_or(Errno::INVAL)?;
    if len == 0 {
        return Ok(());
    }
    let range = checked(start, len)?;
    SPACE.lock().set_locked(&range, locked)
}

/// Whether every page of a range is mapped.
pub(crate) fn is_mapped(range: &Range<usize>) -> bool {
    SPACE.lock().is_mapped(range)
}

/// The whole pages of a call's arguments.
fn checked(addr: usize, len: usize) -> Result<Range<usize>, Errno> {
    let end =
        crate::page::ceil(len, super::PAGE).and_then(|len| addr.checked_add(len)).ok_or(Errno::INVAL)?;
    let sound = len != 0 && addr.is_multiple_of(super::PAGE) && end <= USER_SPACE;
    if sound { Ok(addr..end) } else { Err(Errno::INVAL) }
}

/// Zeroed memory of the library's own.
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
        let len = crate::page::ceil(len, super::PAGE).ok_or(Errno::NOMEM)?;
        if len > self.len {
            let mut new = OwnMemory { addr: anonymous(len)?, len };
            new.bytes_mut()[..self.len].copy_from_slice(self.bytes());
            *self = new;
        }
        Ok(())
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: memory of ours that lives as long as `self`; an empty slice has a dangling, aligned pointer.
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
            unsafe { w::VirtualFree(self.addr as *mut _, 0, w::MEM_RELEASE) };
        }
    }
}
