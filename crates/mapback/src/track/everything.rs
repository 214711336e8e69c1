//! The trackers `whole` and `compare`, as far as addresses go: all that is armed counts as changed.
//!
//! `compare` narrows that down by content, in [`super::Pristine`].

use super::{Sink, Tracker};
use crate::sys::{Errno, os::mem};
use core::ops::Range;

/// Reports every page that was ever writable.
#[derive(Debug)]
pub(crate) struct Everything;

impl Tracker for Everything {
    fn arm(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno> {
        self.protect(range, desired)
    }

    fn collect(&mut self, range: Range<usize>, sink: Sink<'_>) -> Result<(), Errno> {
        sink(range);
        Ok(())
    }

    fn protect(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno> {
        // SAFETY: the range is a map of ours (contract of Tracker).
        unsafe { mem::protect(range, desired) }
    }

    fn retire(&mut self, range: Range<usize>, last: i32, sink: Sink<'_>) -> Result<(), Errno> {
        self.protect(range.clone(), last)?;
        self.collect(range, sink)
    }

    fn forked(&mut self) {}
}
