//! The tracker `fault`: armed pages are read-only, and the handler of SIGSEGV notes the first store to each.
//!
//! The handler finds a page's state in a two-level table indexed by address, which is only ever added to, so
//! that looking up takes two loads and no lock. What happens to a page is in [`super::protocol`].

use super::protocol::{self, Memory, PageState, Verdict};
use super::{Sink, Tracker};
use crate::sys::Errno;
use crate::sys::os::{self, chain, mem};
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// log2 of the pages of one leaf.
const LEAF_BITS: usize = 15;
const LEAF: usize = 1 << LEAF_BITS;
/// Bits of a user address, and so pages and leaves that can be.
const ADDRESS_BITS: usize = 48;

/// `*const [AtomicPtr<PageState>]`: one slot for each leaf; null before the first map is armed.
static ROOT: AtomicPtr<AtomicPtr<PageState>> = AtomicPtr::new(core::ptr::null_mut());
static PAGE_SHIFT: AtomicUsize = AtomicUsize::new(12);

fn page_shift() -> usize {
    PAGE_SHIFT.load(Ordering::Relaxed)
}

/// The process's address space, by page number.
#[derive(Clone, Copy, Debug)]
struct AddressSpace;

fn slot(page: usize) -> Option<&'static AtomicPtr<PageState>> {
    let root = ROOT.load(Ordering::Acquire);
    if root.is_null() || page >> (ADDRESS_BITS - page_shift()) != 0 {
        return None;
    }
    // SAFETY: the root is mapped for every page number below the bound just checked, zeroed (a null AtomicPtr
    // is all zero), and never unmapped.
    Some(unsafe { &*root.add(page >> LEAF_BITS) })
}

/// Makes sure that every page of the range has a state. Called under the space's lock.
fn provide(pages: Range<usize>) -> Result<(), Errno> {
    if ROOT.load(Ordering::Acquire).is_null() {
        PAGE_SHIFT.store(os::page_size().trailing_zeros() as usize, Ordering::Relaxed);
        let slots = 1usize << (ADDRESS_BITS - page_shift() - LEAF_BITS);
        let root = mem::anonymous(slots * size_of::<AtomicPtr<PageState>>())?;
        let root = root as *mut AtomicPtr<PageState>;
        // The maps of the safe face have a lock of their own, so that another thread may be here as well. What comes
        // second is left: it was never touched.
        let _ = ROOT.compare_exchange(core::ptr::null_mut(), root, Ordering::AcqRel, Ordering::Acquire);
    }
    let mut page = pages.start;
    while page < pages.end {
        let slot = slot(page).ok_or(Errno::NOMEM)?;
        if slot.load(Ordering::Acquire).is_null() {
            let leaf = mem::anonymous(LEAF * size_of::<PageState>())?;
            let leaf = leaf as *mut PageState;
            let _ = slot.compare_exchange(core::ptr::null_mut(), leaf, Ordering::AcqRel, Ordering::Acquire);
        }
        page = (page | (LEAF - 1)) + 1;
    }
    Ok(())
}

/// The same, as the handler may use it.
#[derive(Clone, Copy, Debug)]
struct InHandler;

impl Memory for InHandler {
    fn state(&self, page: usize) -> Option<&PageState> {
        state(page)
    }

    fn protect(&self, pages: Range<usize>, prot: i32) -> Result<(), Errno> {
        let shift = page_shift();
        // SAFETY: as for `AddressSpace`.
        unsafe { mem::protect_in_handler(pages.start << shift..pages.end << shift, prot) }
    }

    fn relax(&self) {
        os::relax();
    }
}

fn state(page: usize) -> Option<&'static PageState> {
    let leaf = slot(page)?.load(Ordering::Acquire);
    if leaf.is_null() {
        return None;
    }
    // SAFETY: a leaf has LEAF states, zeroed when mapped (an untracked page's state), never unmapped.
    Some(unsafe { &*leaf.add(page & (LEAF - 1)) })
}

impl Memory for AddressSpace {
    fn state(&self, page: usize) -> Option<&PageState> {
        state(page)
    }

    fn protect(&self, pages: Range<usize>, prot: i32) -> Result<(), Errno> {
        let shift = page_shift();
        // SAFETY: the caller holds the lock bits of these pages, which only pages of our maps have.
        unsafe { mem::mprotect(pages.start << shift, pages.len() << shift, prot) }
    }

    fn relax(&self) {
        os::relax();
    }
}

fn pages(range: &Range<usize>) -> Range<usize> {
    range.start >> page_shift()..range.end >> page_shift()
}

/// Turns runs of pages back into addresses.
fn addresses<'s>(sink: Sink<'s>) -> impl FnMut(Range<usize>) + 's {
    |run| sink(run.start << page_shift()..run.end << page_shift())
}

/// Called by the handler.
fn resolve(addr: usize) -> bool {
    protocol::write_fault(&InHandler, addr >> page_shift()) == Verdict::Retry
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Fault;

impl Fault {
    pub(crate) fn new() -> Result<Fault, Errno> {
        chain::install(resolve)?;
        Ok(Fault)
    }
}

impl Tracker for Fault {
    fn arm(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno> {
        let pages = pages(&range);
        provide(pages.clone())?;
        protocol::arm(&AddressSpace, pages, desired)
    }

    fn collect(&mut self, range: Range<usize>, sink: Sink<'_>) -> Result<(), Errno> {
        protocol::collect(&AddressSpace, pages(&range), &mut addresses(sink));
        Ok(())
    }

    fn protect(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno> {
        protocol::set_desired(&AddressSpace, pages(&range), desired)
    }

    fn retire(&mut self, range: Range<usize>, last: i32, sink: Sink<'_>) -> Result<(), Errno> {
        protocol::retire(&AddressSpace, pages(&range), last, &mut addresses(sink))
    }

    fn forked(&mut self) {
        #[cfg(unix)]
        chain::forked();
    }
}

/// In a forked child: forgets locks and holds of threads that did not come along.
#[cfg(unix)]
pub(crate) fn forked(range: &Range<usize>) {
    protocol::reset(&AddressSpace, pages(range));
}

/// Pages that a system call may write into, made writable for it until dropped (L13).
#[cfg(unix)]
#[derive(Debug)]
pub struct Held {
    pages: Range<usize>,
}

/// Prepares memory for a system call that writes into it; `None` when none of it is tracked by faults.
#[cfg(unix)]
pub fn hold(range: Range<usize>) -> Option<Held> {
    if ROOT.load(Ordering::Acquire).is_null() || range.is_empty() {
        return None;
    }
    let shift = page_shift();
    // A length that no system call would move must not be walked: `read(2)` and its like stop before 2 GiB.
    let range = range.start..range.end.min(range.start.saturating_add(1 << 31));
    let all = range.start >> shift..((range.end - 1) >> shift) + 1;
    let tracked = |page: &usize| AddressSpace.state(*page).is_some_and(PageState::is_ours);
    let first = all.clone().find(tracked)?;
    let _blocked = os::signal::Blocked::new();
    let mut end = first;
    while end < all.end && (protocol::hold(&AddressSpace, end) || !tracked(&end)) {
        end += 1;
    }
    Some(Held { pages: first..end })
}

/// As [`hold`], until [`release`] is called for the same range; holes are passed over.
#[cfg(windows)]
pub(crate) fn hold_all(range: Range<usize>) {
    each_tracked(range, |page| {
        protocol::hold(&AddressSpace, page);
    });
}

/// Ends [`hold_all`].
#[cfg(windows)]
pub(crate) fn release_all(range: Range<usize>) {
    each_tracked(range, |page| protocol::release(&AddressSpace, page));
}

#[cfg(windows)]
fn each_tracked(range: Range<usize>, act: impl Fn(usize)) {
    if ROOT.load(Ordering::Acquire).is_null() || range.is_empty() {
        return;
    }
    let shift = page_shift();
    let all = range.start >> shift..((range.end - 1) >> shift) + 1;
    all.filter(|page| AddressSpace.state(*page).is_some_and(PageState::is_ours)).for_each(act);
}

#[cfg(unix)]
impl Drop for Held {
    fn drop(&mut self) {
        let _blocked = os::signal::Blocked::new();
        for page in self.pages.clone() {
            protocol::release(&AddressSpace, page);
        }
    }
}
