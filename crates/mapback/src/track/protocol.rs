//! The protocol of the `fault` tracker: who may change a page's state and its protection, and in which order.
//!
//! Each tracked page has one atomic word: the protection that the program desires, and what is known of the
//! page. Whoever wants to change the page's *actual* protection first takes the page's `LOCKED` bit, changes
//! the protection while holding it, and releases it with the word that describes the new situation. So the
//! fault handler, a collector, a change of desired protection and a kernel access are serial *per page*, and
//! a word without `LOCKED` always tells the truth:
//!
//! - `WRITABLE` clear ⇒ the page is actually read-only ⇒ the next store faults and is noted;
//! - `WRITABLE` set ⇒ `CHANGED` is set.
//!
//! A handler never waits: finding the bit taken it returns, and the instruction faults again. It runs with
//! every signal blocked, and everybody else takes the bit with signals blocked, so that no owner of the bit
//! is ever interrupted by somebody who wants it. The owner holds it for one system call.
//!
//! The functions are generic over [`Memory`], so that the model checker runs this very code.

use crate::sync::{AtomicU16, Ordering};
use crate::sys::Errno;
use core::ops::Range;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DESIRED: u16 = 7;
/// The page belongs to a tracked map.
const OURS: u16 = 1 << 3;
/// Stored to since it was last reported.
const CHANGED: u16 = 1 << 4;
/// Somebody is changing the page's protection.
const LOCKED: u16 = 1 << 5;
/// Actually writable now.
const WRITABLE: u16 = 1 << 6;
/// One kernel access under way; the count has the upper byte.
const HOLD: u16 = 1 << 8;
const HOLDS: u16 = 0xff << 8;

/// Pages whose bits one caller holds at a time at the most: a bound on how long a handler may spin.
const BATCH: usize = 512;

/// What is known of one page.
#[derive(Debug)]
pub(crate) struct PageState(AtomicU16);

/// The outcome of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Run the instruction again.
    Retry,
    /// Not a fault of this tracker's making.
    NotOurs,
}

/// Pages by number, their states, and the power to protect them.
pub(crate) trait Memory {
    /// The state of a page, if there may be one.
    fn state(&self, page: usize) -> Option<&PageState>;
    /// Changes the actual protection.
    fn protect(&self, pages: Range<usize>, prot: i32) -> Result<(), Errno>;
    /// Lets others run for a moment.
    fn relax(&self);
}

impl PageState {
    /// A page that is not tracked.
    #[cfg(test)]
    pub(crate) fn new() -> PageState {
        PageState(AtomicU16::new(0))
    }

    /// Whether the page is tracked.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn is_ours(&self) -> bool {
        self.0.load(Ordering::Acquire) & OURS != 0
    }

    /// Takes the lock: `Ok(word)`, or `Err(word)` when it is taken or the page is not tracked.
    fn try_lock(&self) -> Result<u16, u16> {
        let word = self.0.load(Ordering::Acquire);
        if word & OURS == 0 || word & LOCKED != 0 {
            return Err(word);
        }
        self.0
            .compare_exchange(word, word | LOCKED, Ordering::AcqRel, Ordering::Acquire)
            .or(Err(word | LOCKED))
    }

    fn unlock(&self, word: u16) {
        self.0.store(word & !LOCKED, Ordering::Release);
    }
}

/// The actual protection of a page whose next store shall fault. What may be written may be read (as on every
/// processor we know).
fn armed(desired: u16) -> i32 {
    let desired = if desired & WRITE != 0 { (desired & !WRITE) | READ } else { desired };
    i32::from(desired & DESIRED)
}

/// Takes the lock of a tracked page, waiting for a handler to finish; `None` when the page is not tracked.
fn lock(mem: &impl Memory, page: usize) -> Option<(&PageState, u16)> {
    let state = mem.state(page)?;
    loop {
        match state.try_lock() {
            Ok(word) => return Some((state, word)),
            Err(word) if word & OURS == 0 => return None,
            Err(_) => mem.relax(),
        }
    }
}

/// Locks up to [`BATCH`] neighbouring tracked pages from `range.start` on that satisfy `wanted`.
fn lock_run(mem: &impl Memory, range: &Range<usize>, wanted: impl Fn(u16) -> bool) -> Range<usize> {
    let mut page = range.start;
    while page < range.end && page - range.start < BATCH {
        let word = mem.state(page).map_or(0, |s| s.0.load(Ordering::Acquire));
        if word & OURS == 0 || !wanted(word) || lock(mem, page).is_none() {
            break;
        }
        page += 1;
    }
    range.start..page
}

fn word_of(mem: &impl Memory, page: usize) -> u16 {
    mem.state(page).map_or(0, |s| s.0.load(Ordering::Acquire) & !LOCKED)
}

/// Ends the lock of each page with the word that `with` makes of the old one.
fn unlock_run(mem: &impl Memory, pages: Range<usize>, mut with: impl FnMut(usize, u16) -> u16) {
    for page in pages {
        if let Some(state) = mem.state(page) {
            let word = state.0.load(Ordering::Acquire) & !LOCKED;
            state.unlock(with(page, word));
        }
    }
}

/// Begins to track pages, each with the same desired protection. Threads that use them already may have stored before
/// this returns, which is noted or not; a store that the protection then refuses waits for the end.
pub(crate) fn arm(mem: &impl Memory, pages: Range<usize>, desired: i32) -> Result<(), Errno> {
    let desired = desired as u16 & DESIRED;
    let tracked = OURS | desired;
    for page in pages.clone() {
        if lock(mem, page).is_none()
            && let Some(state) = mem.state(page)
        {
            state.0.store(tracked | LOCKED, Ordering::Release);
        }
    }
    let done = mem.protect(pages.clone(), armed(desired));
    let word = if done.is_ok() { tracked } else { 0 };
    unlock_run(mem, pages, |_, _| word);
    done
}

/// A store to `page` was refused: notes the page and makes it writable, if the program's own protection allows.
/// Safe to run in a signal handler with every signal blocked.
pub(crate) fn write_fault(mem: &impl Memory, page: usize) -> Verdict {
    let Some(state) = mem.state(page) else { return Verdict::NotOurs };
    let word = match state.try_lock() {
        Ok(word) => word,
        Err(word) if word & OURS == 0 => return Verdict::NotOurs,
        Err(_) => {
            mem.relax();
            return Verdict::Retry;
        }
    };
    if word & WRITE == 0 {
        state.unlock(word);
        return Verdict::NotOurs;
    }
    if mem.protect(page..page + 1, i32::from(word & DESIRED)).is_ok() {
        state.unlock(word | CHANGED | WRITABLE);
        return Verdict::Retry;
    }
    state.unlock(word);
    widen(mem, page, word & DESIRED)
}

/// The kernel would not split the map once more (`max_map_count`): makes the whole read-only stretch around the
/// page writable, which needs no split, and counts all of it as changed.
fn widen(mem: &impl Memory, page: usize, desired: u16) -> Verdict {
    let same = |p: usize| {
        let word = word_of(mem, p);
        word & (OURS | WRITABLE | DESIRED) == OURS | desired
    };
    let mut from = page;
    while from > 0 && same(from - 1) {
        from -= 1;
    }
    let mut to = page + 1;
    while same(to) {
        to += 1;
    }
    for p in from..to {
        let taken = mem.state(p).map(PageState::try_lock);
        if matches!(taken, Some(Ok(word)) if word & DESIRED == desired) {
            continue;
        }
        // Somebody else is at work there, or just was: let go of all and let the instruction fault again.
        let locked = if matches!(taken, Some(Ok(_))) { p + 1 } else { p };
        unlock_run(mem, from..locked, |_, word| word);
        mem.relax();
        return Verdict::Retry;
    }
    let done = mem.protect(from..to, i32::from(desired));
    // Even a refused change may have opened the first pages.
    unlock_run(mem, from..to, |_, word| word | CHANGED | WRITABLE);
    if done.is_ok() { Verdict::Retry } else { Verdict::NotOurs }
}

/// Reports the changed pages and makes them read-only again. Content read afterwards has every store that is
/// reported; a later store faults and is noted anew.
pub(crate) fn collect(mem: &impl Memory, pages: Range<usize>, sink: &mut dyn FnMut(Range<usize>)) {
    let mut at = pages.start;
    while at < pages.end {
        let run = lock_run(mem, &(at..pages.end), |word| word & (CHANGED | WRITABLE | LOCKED) != 0);
        if run.is_empty() {
            at += 1;
            continue;
        }
        rearm(mem, run.clone());
        unlock_run(mem, run.clone(), |page, word| {
            if word & CHANGED != 0 {
                sink(page..page + 1);
            }
            // Still writable: held by the kernel, or the protection could not be changed. It stays noted.
            if word & WRITABLE != 0 { word } else { word & !CHANGED }
        });
        at = run.end;
    }
}

/// Makes locked pages read-only, stretch by stretch of one desired protection, but for those held by a kernel
/// access; clears `WRITABLE` in the words of those that are.
fn rearm(mem: &impl Memory, run: Range<usize>) {
    let mut at = run.start;
    while at < run.end {
        let first = word_of(mem, at);
        let mut to = at + 1;
        while to < run.end && word_of(mem, to) & (DESIRED | HOLDS) == first & (DESIRED | HOLDS) {
            to += 1;
        }
        if first & HOLDS == 0 && mem.protect(at..to, armed(first & DESIRED)).is_ok() {
            for page in at..to {
                if let Some(state) = mem.state(page) {
                    state.0.fetch_and(!WRITABLE, Ordering::AcqRel);
                }
            }
        }
        at = to;
    }
}

/// Changes the desired protection; what is noted stays noted, and the next store faults.
pub(crate) fn set_desired(mem: &impl Memory, pages: Range<usize>, desired: i32) -> Result<(), Errno> {
    let desired = desired as u16 & DESIRED;
    let mut at = pages.start;
    while at < pages.end {
        let run = lock_run(mem, &(at..pages.end), |_| true);
        if run.is_empty() {
            at += 1;
            continue;
        }
        let done = mem.protect(run.clone(), armed(desired));
        unlock_run(mem, run.clone(), |_, word| match done {
            Ok(()) => (word & !(DESIRED | WRITABLE)) | desired,
            Err(_) => word,
        });
        done?;
        at = run.end;
    }
    Ok(())
}

/// Ends tracking: gives the pages the protection `last`, which lets no store through, then reports what was changed.
/// On error nothing from there on is tracked either: the caller counts all as changed.
pub(crate) fn retire(
    mem: &impl Memory,
    pages: Range<usize>,
    last: i32,
    sink: &mut dyn FnMut(Range<usize>),
) -> Result<(), Errno> {
    let mut at = pages.start;
    while at < pages.end {
        let run = lock_run(mem, &(at..pages.end), |_| true);
        if run.is_empty() {
            at += 1;
            continue;
        }
        let done = mem.protect(run.clone(), last);
        unlock_run(mem, run.clone(), |page, word| {
            if done.is_ok() && word & CHANGED != 0 {
                sink(page..page + 1);
            }
            0
        });
        if done.is_err() {
            forget(mem, run.end..pages.end);
            return done;
        }
        at = run.end;
    }
    Ok(())
}

/// Ends tracking without a word: a page that will be somebody else's must not be opened by our handler.
fn forget(mem: &impl Memory, pages: Range<usize>) {
    for page in pages {
        if let Some((state, _)) = lock(mem, page) {
            state.unlock(0);
        }
    }
}

/// Makes a page writable for an access by the kernel, which would get `EFAULT` instead of a fault, and keeps
/// collectors from re-arming it until [`release`]. `false`: nothing was held.
pub(crate) fn hold(mem: &impl Memory, page: usize) -> bool {
    let Some((state, word)) = lock(mem, page) else { return false };
    let may = word & WRITE != 0 && word & HOLDS != HOLDS;
    let open = !may || word & WRITABLE != 0 || mem.protect(page..page + 1, i32::from(word & DESIRED)).is_ok();
    if !open {
        // As with a store: open a stretch that needs no split of a map, and try once more.
        state.unlock(word);
        if widen(mem, page, word & DESIRED) == Verdict::NotOurs {
            return false;
        }
        return lock(mem, page).is_some_and(|(state, word)| {
            let open = word & WRITE != 0 && word & WRITABLE != 0 && word & HOLDS != HOLDS;
            state.unlock(if open { word + HOLD } else { word });
            open
        });
    }
    state.unlock(if may { (word | CHANGED | WRITABLE) + HOLD } else { word });
    may
}

/// Ends a [`hold`].
pub(crate) fn release(mem: &impl Memory, page: usize) {
    if let Some((state, word)) = lock(mem, page) {
        state.unlock(if word & HOLDS != 0 { word - HOLD } else { word });
    }
}

/// In a forked child: no other thread lives on, so locks and holds of theirs are void. What was noted stays.
#[cfg_attr(any(loom, windows), allow(dead_code))]
pub(crate) fn reset(mem: &impl Memory, pages: Range<usize>) {
    for page in pages {
        if let Some(state) = mem.state(page) {
            state.0.fetch_and(!(LOCKED | HOLDS), Ordering::AcqRel);
        }
    }
}

#[cfg(all(test, loom))]
mod model;

#[cfg(all(test, not(loom)))]
mod tests;
