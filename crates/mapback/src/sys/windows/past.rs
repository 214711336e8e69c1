//! Which pages of our maps lie past the end of their file, as the exception handler can look it up.
//!
//! A bitmap in two levels, which is only ever added to: looking up takes three loads and no lock. Changed under the
//! address space's lock.

use super::{PAGE, mem};
use crate::sys::Errno;
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// log2 of the bytes of address space that one leaf speaks of.
const LEAF_BITS: u32 = 30;
const LEAF_PAGES: usize = (1 << LEAF_BITS) / PAGE;
/// Bits of a user address (47 on x86-64 and on aarch64).
const ADDRESS_BITS: u32 = 47;
const LEAVES: usize = 1 << (ADDRESS_BITS - LEAF_BITS);

type Leaf = [AtomicU64; LEAF_PAGES / 64];

static ROOT: [AtomicPtr<Leaf>; LEAVES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; LEAVES];

fn leaf(page: usize) -> Option<&'static Leaf> {
    let leaf = ROOT.get(page / LEAF_PAGES)?.load(Ordering::Acquire);
    // SAFETY: null, or a leaf that was mapped zeroed and is never unmapped.
    unsafe { leaf.as_ref() }
}

/// Whether the page of an address is noted. Safe to call in the handler.
pub(super) fn contains(addr: usize) -> bool {
    let page = addr / PAGE;
    let word = |leaf: &Leaf| leaf[page % LEAF_PAGES / 64].load(Ordering::Acquire);
    leaf(page).is_some_and(|leaf| word(leaf) & (1 << (page % 64)) != 0)
}

/// Notes a range of pages, or forgets it.
///
/// # Errors
/// `ENOMEM`: the pages of a leaf that could not be had stay unknown.
pub(super) fn set(range: Range<usize>, past: bool) -> Result<(), Errno> {
    let (mut page, end) = (range.start / PAGE, range.end / PAGE);
    while page < end {
        let word_end = (page | 63) + 1;
        let upto = word_end.min(end);
        let bits = upto - page;
        let mask = (if bits == 64 { !0 } else { (1u64 << bits) - 1 }) << (page % 64);
        let slot = ROOT.get(page / LEAF_PAGES).ok_or(Errno::NOMEM)?;
        if slot.load(Ordering::Acquire).is_null() {
            if !past {
                page = (page / LEAF_PAGES + 1) * LEAF_PAGES;
                continue;
            }
            slot.store(mem::anonymous(size_of::<Leaf>())? as *mut Leaf, Ordering::Release);
        }
        if let Some(leaf) = leaf(page) {
            let word = &leaf[page % LEAF_PAGES / 64];
            if past {
                word.fetch_or(mask, Ordering::AcqRel);
            } else {
                word.fetch_and(!mask, Ordering::AcqRel);
            }
        }
        page = upto;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_found_and_nothing_else() {
        let start = 0x1234_5678_0000;
        set(start + 3 * PAGE..start + 70 * PAGE, true).unwrap();
        assert!(!contains(start + 2 * PAGE) && contains(start + 3 * PAGE + 5));
        assert!(contains(start + 69 * PAGE) && !contains(start + 70 * PAGE));
        set(start + 4 * PAGE..start + 71 * PAGE, false).unwrap();
        assert!(contains(start + 3 * PAGE) && !contains(start + 4 * PAGE));
    }
}
