//! The address space of this process, as POSIX has it.

use core::ops::Range;
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

/// `mprotect` of a range.
///
/// # Safety
/// The range must be one whose protection is the caller's to change.
///
/// # Errors
/// Those of `mprotect`.
pub(crate) unsafe fn protect(range: Range<usize>, prot: i32) -> Result<(), Errno> {
    let flags = MprotectFlags::from_bits_retain(prot as u32);
    // SAFETY: the caller's word.
    unsafe { rustix::mm::mprotect(range.start as *mut _, range.len(), flags) }
}

/// Private zeroed memory of this library's own.
///
/// # Errors
/// `ENOMEM`.
fn anonymous(len: usize) -> Result<usize, Errno> {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the system chooses an address that is free.
    let at = unsafe { rustix::mm::mmap_anonymous(core::ptr::null_mut(), len, prot, MapFlags::PRIVATE) }?;
    Ok(at as usize)
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
        let len = crate::page::ceil(len, rustix::param::page_size()).ok_or(Errno::NOMEM)?;
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
            let _ = unsafe { rustix::mm::munmap(self.addr as *mut _, self.len) };
        }
    }
}
