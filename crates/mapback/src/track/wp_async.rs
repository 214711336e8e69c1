//! The tracker `wp-async`: the kernel's asynchronous userfaultfd write protection.
//!
//! A first store to a protected page takes a short fault in which the kernel clears the page's mark; no
//! signal, no thread. `PAGEMAP_SCAN` reports the pages without mark and marks them again in one step. Stores
//! by the kernel itself (`read` into a map) are noted like any other. A page whose entry the kernel dropped
//! meanwhile has no mark either, and is reported: the error is always on the safe side.

use super::{Sink, Tracker};
use crate::sys::Errno;
use crate::sys::os::{
    self, mem,
    pagemap::{OWN, Pagemap},
    uffd::Uffd,
};
use core::ops::Range;

/// What belongs to one address space.
#[derive(Debug)]
struct Handles {
    uffd: Uffd,
    pagemap: Pagemap,
    pid: i32,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct WpAsync {
    handles: Handles,
    /// Set in a forked child, whose handles still speak of its parent.
    stale: bool,
}

impl Handles {
    fn open() -> Result<Handles, Errno> {
        Ok(Handles { uffd: Uffd::new()?, pagemap: Pagemap::open(OWN)?, pid: os::pid() })
    }
}

impl WpAsync {
    /// # Errors
    /// Where the kernel lacks it, or userfaultfd is denied.
    pub(crate) fn new() -> Result<WpAsync, Errno> {
        os::pagemap::probe()?;
        Ok(WpAsync { handles: Handles::open()?, stale: false })
    }

    /// Handles of this very process. A child that was cloned behind libc's back must not scan its parent.
    fn own(&mut self) -> Result<&Handles, Errno> {
        if self.stale || self.handles.pid != os::pid() {
            self.handles = Handles::open()?;
            self.stale = false;
        }
        Ok(&self.handles)
    }
}

impl Tracker for WpAsync {
    fn arm(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno> {
        let own = self.own()?;
        own.uffd.register(&range)?;
        // Many times faster than UFFDIO_WRITEPROTECT, which walks every page twice.
        own.pagemap.protect(&range)?;
        self.protect(range, desired)
    }

    fn collect(&mut self, range: Range<usize>, sink: Sink<'_>) -> Result<(), Errno> {
        self.own()?.pagemap.collect(&range, sink)
    }

    fn protect(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno> {
        // SAFETY: the range is a map of ours (contract of Tracker). Marks outlive a change of protection.
        unsafe { mem::protect(range, desired) }
    }

    fn retire(&mut self, range: Range<usize>, last: i32, sink: Sink<'_>) -> Result<(), Errno> {
        self.protect(range.clone(), last)?;
        // Nothing can be stored any more, so there is nothing to re-arm.
        let own = self.own()?;
        own.pagemap.peek(&range, sink)?;
        // What is registered is a map of its own to the kernel, and mremap moves only one. A range that stays
        // registered is no harm otherwise.
        let _ = own.uffd.unregister(&range);
        Ok(())
    }

    fn forked(&mut self) {
        self.stale = true;
    }
}
