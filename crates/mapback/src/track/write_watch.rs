//! The tracker `write-watch`: the system notes the first store to each page of memory that was allocated for it
//! (`MEM_WRITE_WATCH`), and `GetWriteWatch` tells and forgets in one step.
//!
//! Stores by the kernel (`ReadFile` into a map) are noted like any other. It works for the memory of one process
//! alone, not for views of sections.

use super::{Sink, Tracker};
use crate::sys::Errno;
use crate::sys::os::{mem, watch};
use core::ops::Range;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct WriteWatch;

impl Tracker for WriteWatch {
    fn arm(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno> {
        // What was noted so far is how the content came there.
        watch::reset(&range)?;
        self.protect(range, desired)
    }

    fn collect(&mut self, range: Range<usize>, sink: Sink<'_>) -> Result<(), Errno> {
        watch::collect(&range, sink)
    }

    fn protect(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno> {
        // SAFETY: the range is a map of ours (contract of Tracker). What is noted outlives a change of protection.
        unsafe { mem::protect(range, desired) }
    }

    fn retire(&mut self, range: Range<usize>, last: i32, sink: Sink<'_>) -> Result<(), Errno> {
        self.protect(range.clone(), last)?;
        watch::collect(&range, sink)
    }

    fn forked(&mut self) {}
}
