//! What all maps have in common: where the memory is, and its working copy.

use crate::image::working::{Depth, Working};
use core::ops::Range;
use std::io;
use std::sync::Arc;

/// A map's hold on its memory. Dropping it writes back.
pub(super) struct Handle {
    ptr: *mut u8,
    len: usize,
    pub(super) working: Arc<Working>,
}

// SAFETY: the memory belongs to the working copy, which any thread may use, and lives as long as it. Who may load and
// store when is for the types around this one to say: they give out `&[u8]` for `&self` and `&mut [u8]` for `&mut self`,
// or raw pointers.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) fn new(working: Working) -> Handle {
        let (ptr, len) = working.memory();
        Handle { ptr, len, working: Arc::new(working) }
    }

    pub(super) fn ptr(&self) -> *mut u8 {
        self.ptr
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes.
    ///
    /// # Safety
    /// Nobody may store to them as long as the slice lives.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: `ptr` is good for `len` bytes as long as `self` lives, and not null; the caller vouches for the rest.
        unsafe { core::slice::from_raw_parts(self.ptr, self.len) }
    }

    /// The bytes, to be stored to.
    ///
    /// # Safety
    /// Nobody else may load or store as long as the slice lives, and the memory has to be writable.
    pub(super) unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut(self.ptr, self.len) }
    }

    /// Writes back a range that has to be inside the map.
    pub(super) fn flush(&self, offset: usize, len: usize, depth: Depth) -> io::Result<()> {
        Ok(self.working.flush(self.range(offset, len)?, depth)?)
    }

    pub(super) fn flush_all(&self, depth: Depth) -> io::Result<()> {
        Ok(self.working.flush(0..self.len, depth)?)
    }

    /// A range, if it is inside the map.
    pub(super) fn range(&self, offset: usize, len: usize) -> io::Result<Range<usize>> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(offset..end),
            _ => {
                let why = format!("bytes {offset}..+{len} are not all inside a map of {} bytes", self.len);
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
        }
    }

    /// Gives the map another length; the memory may have moved.
    pub(super) fn remap(&mut self, len: usize, may_move: bool) -> io::Result<()> {
        let working = self.working.clone();
        // Also when it panics: the memory may have moved before the store was asked for what is added.
        let _after = Follow(self);
        working.resize(len, may_move)
    }

    pub(super) fn close(self) -> io::Result<()> {
        Ok(self.working.close()?)
    }
}

/// Looks where the memory is when it is dropped.
struct Follow<'h>(&'h mut Handle);

impl Drop for Follow<'_> {
    fn drop(&mut self) {
        (self.0.ptr, self.0.len) = self.0.working.memory();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Not left to the working copy's own end: a thread that flushes it just now may outlive this one.
        self.working.end();
    }
}
