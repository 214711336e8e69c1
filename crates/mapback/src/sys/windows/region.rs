//! Memory of a map of the safe face: private to this process, and nobody else's to change.
//!
//! It is memory of which the system notes each store (`MEM_WRITE_WATCH`), whatever tracker is used: that is asked for
//! when memory is reserved, and costs nothing until somebody asks what was noted.

use super::errno::Errno;
use super::mem::{self, PROT_READ, PROT_WRITE};
use super::{GRANULE, PAGE, reservation, watch};
use crate::page;
use core::ops::Range;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::Memory as w;
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// Whole pages of private memory, zero at first. Released when dropped.
///
/// It is never turned into a slice here: who may do that is its owner's business.
#[derive(Debug)]
pub(crate) struct Region {
    addr: usize,
    len: usize,
    /// Bytes of address space: the region can grow so far where it is.
    room: usize,
    /// A copy-on-write view of a [`Base`].
    view: bool,
}

/// The content that snapshots begin with and share until one of them is stored to: a section that the page file backs.
#[derive(Debug)]
pub(crate) struct Base {
    section: OwnedHandle,
    room: usize,
}

impl Region {
    /// A region of `len` bytes, rounded up to pages; none at all for 0. Readable and writable. Huge pages are not asked for:
    /// on this system they need a privilege, and cannot be watched.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(len: usize, _huge: bool) -> Result<Region, Errno> {
        let len = page::ceil(len, PAGE).ok_or(Errno::NOMEM)?;
        if len == 0 {
            return Ok(Region { addr: PAGE, len: 0, room: 0, view: false });
        }
        let room = page::ceil(len, GRANULE).ok_or(Errno::NOMEM)?;
        let region = Region { addr: watch::reserve(room)?, len, room, view: false };
        region.commit(0..len)?;
        Ok(region)
    }

    /// The bytes of the region.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of byte `at`; dangling, but not null, for a region without bytes.
    pub(crate) fn at(&self, at: usize) -> *mut u8 {
        debug_assert!(at <= self.len);
        (self.addr + at) as *mut u8
    }

    /// The addresses of a range of bytes.
    pub(crate) fn addresses(&self, range: &Range<usize>) -> Range<usize> {
        debug_assert!(range.end <= self.len);
        self.addr + range.start..self.addr + range.end
    }

    fn commit(&self, bytes: Range<usize>) -> Result<(), Errno> {
        let pages = self.addr + bytes.start..self.addr + bytes.end;
        // SAFETY: pages that this region reserved, and that nobody uses yet.
        unsafe { reservation::commit(&pages, PROT_READ | PROT_WRITE) }
    }

    /// Changes the protection of all of it. Of a view that may only be to less than it was made with.
    ///
    /// # Errors
    /// `ENOMEM`; `EACCES` where memory may not be executable.
    pub(crate) fn protect(&self, prot: i32) -> Result<(), Errno> {
        if self.len == 0 {
            return Ok(());
        }
        // SAFETY: our own memory. Who holds references that the new protection contradicts is the owner's business.
        unsafe { mem::mprotect(self.addr, self.len, prot) }
    }

    /// Makes it `len` bytes long, rounded up to pages; what is new is zero. On error it is as it was.
    ///
    /// # Errors
    /// `ENOMEM`; `EFAULT` where it has no room, and its content would have to move: who holds it can make another one.
    pub(crate) fn resize(&mut self, len: usize, _may_move: bool) -> Result<(), Errno> {
        let len = page::ceil(len, PAGE).ok_or(Errno::NOMEM)?;
        if self.len == 0 || len == 0 {
            if len != self.len {
                *self = Region::new(len, false)?;
            }
        } else if len < self.len {
            let tail = self.addr + len..self.addr + self.len;
            // SAFETY: ours, and `&mut self` says that nobody looks at it now.
            unsafe { reservation::decommit(&tail) };
            self.len = len;
        } else if len <= self.room {
            self.commit(self.len..len)?;
            self.len = len;
        } else {
            return Err(Errno::FAULT);
        }
        Ok(())
    }

    /// Keeps all of it in memory.
    ///
    /// # Errors
    /// `ENOMEM`: the process's minimum working set is too small.
    pub(crate) fn lock(&self) -> Result<(), Errno> {
        self.set_locked(true)
    }

    /// Ends [`Region::lock`].
    ///
    /// # Errors
    /// `ENOMEM`: it is not locked.
    pub(crate) fn unlock(&self) -> Result<(), Errno> {
        self.set_locked(false)
    }

    fn set_locked(&self, locked: bool) -> Result<(), Errno> {
        if self.len == 0 { Ok(()) } else { reservation::lock(&(self.addr..self.addr + self.len), locked) }
    }

    /// Copies bytes from `at` on, which other threads may be storing to, by the kernel's hand: for Rust a load that
    /// races with a store has no meaning. The copy may hold a mixture of old and new bytes.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn copy_live(&self, at: usize, to: &mut [u8]) -> Result<(), Errno> {
        debug_assert!(at + to.len() <= self.len);
        let mut done = 0;
        let (from, buffer) = (self.at(at).cast_const().cast(), to.as_mut_ptr().cast());
        // SAFETY: the pseudo-handle of this process is always valid; `from` is inside the region and `to` is a slice that
        // is ours to write to.
        let copied = unsafe { ReadProcessMemory(GetCurrentProcess(), from, buffer, to.len(), &raw mut done) };
        if copied == 0 || done != to.len() { Err(Errno::last()) } else { Ok(()) }
    }

    /// Makes a base that has the region's content of now, so that a snapshot costs what was stored to since. Nobody may
    /// store to the region meanwhile; loads may go on. The protection is for other systems.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn found(&self, _prot: i32) -> Result<Base, Errno> {
        let base = Base::new(self.room)?;
        let all = base.view(w::FILE_MAP_WRITE, self.len)?;
        for at in (0..self.len).step_by(PAGE) {
            // SAFETY: inside the region, readable, and not stored to meanwhile (see above).
            let bytes = unsafe { core::slice::from_raw_parts(self.at(at), PAGE) };
            if bytes.iter().any(|b| *b != 0) {
                // SAFETY: both are whole pages inside their regions; nobody has the view yet.
                unsafe { core::ptr::copy_nonoverlapping(self.at(at), all.at(at), PAGE) };
            }
        }
        Ok(base)
    }
}

impl Base {
    fn new(room: usize) -> Result<Base, Errno> {
        let (high, low) = ((room as u64 >> 32) as u32, room as u32);
        let none = core::ptr::null();
        // SAFETY: no file, no name and no attributes: memory of this process's own.
        let made = unsafe {
            w::CreateFileMappingW(INVALID_HANDLE_VALUE, none, w::PAGE_READWRITE, high, low, none.cast())
        };
        if made.is_null() {
            return Err(Errno::NOMEM);
        }
        // SAFETY: just made, owned by nobody else.
        Ok(Base { section: unsafe { OwnedHandle::from_raw_handle(made) }, room })
    }

    fn view(&self, access: w::FILE_MAP, len: usize) -> Result<Region, Errno> {
        // SAFETY: maps where it is free; replaces nothing.
        let at = unsafe { w::MapViewOfFile(self.section.as_raw_handle(), access, 0, 0, len) }.Value as usize;
        if at == 0 {
            return Err(Errno::NOMEM);
        }
        Ok(Region { addr: at, len, room: len, view: true })
    }

    /// How many of its bytes a region shows again that was cut off and grows: none, its memory is its own.
    pub(crate) fn len(&self) -> usize {
        0
    }

    /// Follows the region to another length. Returns whether it can; if not, it is of no use any more.
    ///
    /// # Errors
    /// None on this system.
    pub(crate) fn resize(&mut self, len: usize) -> Result<bool, Errno> {
        Ok(len <= self.room)
    }

    /// A region that has the base's content, with the first `len` bytes, and shares its memory until stored to.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn branch(&self, len: usize) -> Result<Region, Errno> {
        match page::ceil(len, PAGE).ok_or(Errno::NOMEM)?.min(self.room) {
            0 => Region::new(0, false),
            len => self.view(w::FILE_MAP_COPY, len),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        let at = self.addr as *mut core::ffi::c_void;
        // SAFETY: made by this region in the way that is undone here, once; nobody can hold a reference into it any more.
        unsafe {
            if self.view {
                w::UnmapViewOfFile(w::MEMORY_MAPPED_VIEW_ADDRESS { Value: at });
            } else {
                w::VirtualFree(at, 0, w::MEM_RELEASE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(region: &Region, at: usize, bytes: &[u8]) {
        // SAFETY: the region is the test's own, and writable.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), region.at(at), bytes.len()) };
    }

    fn read(region: &Region, at: usize, len: usize) -> Vec<u8> {
        let mut to = vec![0; len];
        region.copy_live(at, &mut to).unwrap();
        to
    }

    #[test]
    fn what_is_cut_off_is_zero_when_the_region_grows_again() {
        let mut region = Region::new(3 * PAGE, true).unwrap();
        fill(&region, 2 * PAGE - 3, b"across");
        region.resize(2 * PAGE, false).unwrap();
        region.resize(GRANULE, false).unwrap();
        assert_eq!(read(&region, 2 * PAGE - 3, 6), b"acr\0\0\0");
        assert_eq!(region.resize(GRANULE + 1, true), Err(Errno::FAULT));
        assert_eq!(read(&region, 2 * PAGE - 3, 3), b"acr");
    }

    #[test]
    fn branches_keep_what_the_region_had_and_are_apart_from_each_other() {
        let region = Region::new(2 * PAGE, false).unwrap();
        fill(&region, PAGE, b"old");
        let base = region.found(PROT_READ).unwrap();
        fill(&region, PAGE, b"new");
        let (one, other) = (base.branch(2 * PAGE).unwrap(), base.branch(2 * PAGE).unwrap());
        fill(&one, PAGE, b"own");
        one.protect(PROT_READ).unwrap();
        drop(base);
        let all = [&region, &one, &other].map(|region| read(region, PAGE, 3));
        assert_eq!(all, [b"new", b"own", b"old"].map(|b| b.to_vec()));
    }
}
