//! Working copies: the memory behind the maps of the safe face.
//!
//! A working copy is private memory of this process that holds a stretch of a store. Nobody else can change it, so that
//! a `&[u8]` of it is sound. What its owner changed is written back by `flush` and by drop. Other working copies of the
//! same file, and other programs, are kept from being trampled by [`registry`] (I7).
//!
//! Bytes are counted from the beginning of the [`Region`], which stands at a multiple of the page in the store; the map
//! begins `skip` bytes into it.

mod backing;
mod collect;
mod content;
mod flush;
mod journal_file;
mod registry;
mod snapshot;
mod ticker;

pub(crate) use backing::{Backing, JournalPlace};
pub(crate) use flush::Depth;
pub(crate) use journal_file::replay_left;
pub(crate) use snapshot::Frozen;
pub(crate) use ticker::flush_every;

use super::marks::Marks;
use crate::error::Error;
use crate::page;
use crate::store::Stat;
use crate::sys::os::{self, mem, region::Base, region::Region};
use crate::track::{Pristine, TrackerKind};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use rangemap::RangeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What to do when the file was changed by other means since it was loaded or last flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Write nothing and say so: [`Error::Conflict`].
    #[default]
    Error,
    /// Write the changed pages, whole, over whatever the file has there now: what the kernel's own maps do. Pages that
    /// this map did not change keep what others wrote.
    Overwrite,
    /// Write just the bytes that this map changed, so that two programs which change different bytes of one page both
    /// keep their changes. Of a byte that both changed, this map's is written. Costs a second copy of the content in
    /// memory.
    Merge,
}

/// What a working copy is made from.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where in the store it begins.
    pub(crate) off: u64,
    pub(crate) len: usize,
    /// Changes are written back.
    pub(crate) shared: bool,
    /// It may be stored to.
    pub(crate) writable: bool,
    pub(crate) exec: bool,
    /// Without, the best that works here.
    pub(crate) tracker: Option<TrackerKind>,
    pub(crate) on_conflict: OnConflict,
    pub(crate) huge: bool,
}

/// A working copy.
#[derive(Debug)]
pub(crate) struct Working {
    state: Mutex<State>,
    /// Others may be storing to the memory while it is written back: it must be copied by the kernel.
    live: AtomicBool,
    /// The process whose changes these are.
    pid: i32,
}

pub(crate) struct State {
    region: Region,
    skip: usize,
    plan: Plan,
    /// `None`: anonymous.
    backing: Option<Backing>,
    /// The tracker that is armed. `None`: nothing is to be written back.
    tracker: Option<TrackerKind>,
    /// Changed, and not in the store.
    marks: Marks,
    /// In the store, but not synced.
    unsynced: Marks,
    pristine: Option<Exact>,
    base: Option<Branching>,
    /// The registry's generation that this copy knows of, and the file as it was then.
    seen: (u64, Stat),
    /// Commits were made: what is written at the end is one, too.
    atomic: bool,
}

/// What is needed to write back byte by byte.
#[derive(Debug, Default)]
struct Exact {
    /// What stands in the store.
    stored: Pristine,
    /// Written since the last sync that succeeded.
    unsynced: RangeSet<usize>,
    /// To be written even where it equals `stored`: a sync failed.
    owed: RangeSet<usize>,
}

/// What snapshots share.
#[derive(Debug)]
struct Branching {
    base: Base,
    /// Changed since the base was made.
    changed: Marks,
}

impl Working {
    /// Makes a working copy, loads it, and begins to track what is stored to.
    ///
    /// # Errors
    /// Those of reading; `ENOMEM`.
    pub(crate) fn new(plan: Plan, backing: Option<Backing>) -> io::Result<Working> {
        let skip = (plan.off % os::page_size() as u64) as usize;
        let all = skip.checked_add(plan.len).ok_or(io::ErrorKind::OutOfMemory)?;
        let region = Region::new(if plan.len == 0 { 0 } else { all }, plan.huge)?;
        let mut state = State {
            region,
            skip,
            plan,
            backing,
            tracker: None,
            marks: Marks::default(),
            unsynced: Marks::default(),
            pristine: None,
            base: None,
            seen: (0, Stat { len: 0, version: 0 }),
            atomic: false,
        };
        state.load_all()?;
        if state.plan.writable {
            state.track()?;
        }
        state.reprotect()?;
        Ok(Working { state: Mutex::new(state), live: AtomicBool::new(false), pid: os::pid() })
    }

    /// The memory: where it is, and how many bytes.
    pub(crate) fn memory(&self) -> (*mut u8, usize) {
        let state = self.state();
        (state.region.at(state.skip.min(state.region.len())), state.plan.len)
    }

    /// From now on others may store to the memory while it is written back.
    pub(crate) fn set_live(&self) {
        // Nobody who writes back may still take it for quiet.
        let _state = self.state();
        self.live.store(true, Ordering::Relaxed);
    }

    fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Makes the memory read-only, or executable.
    ///
    /// # Errors
    /// Those of `mprotect`.
    pub(crate) fn make_read_only(&self, exec: bool) -> io::Result<()> {
        let mut state = self.state();
        state.plan.writable = false;
        state.plan.exec |= exec;
        state.reprotect()
    }

    /// Makes the memory writable, and begins to track if that was not done.
    ///
    /// # Errors
    /// `PermissionDenied` where the file may not be written; those of `mprotect`.
    pub(crate) fn make_writable(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.plan.shared && state.backing.as_ref().is_some_and(|backing| !backing.writable) {
            let why = "the file was opened to be read only; map a copy, or open it to be written";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        state.plan.writable = true;
        if state.tracker.is_none() {
            state.region.protect(mem::PROT_READ | mem::PROT_WRITE)?;
            state.track()?;
        }
        state.reprotect()
    }

    /// Advises the kernel on a range of the map.
    ///
    /// # Errors
    /// Those of `madvise`.
    #[cfg(target_os = "linux")]
    pub(crate) fn advise(&self, range: Range<usize>, advice: i32) -> io::Result<()> {
        let state = self.state();
        Ok(state.region.advise(range.start + state.skip..range.end + state.skip, advice)?)
    }

    /// As [`Working::advise`], for advice that takes the content of anonymous memory away. Memory that holds a file's
    /// content keeps it.
    ///
    /// # Safety
    /// Nobody may rely on the content of the range.
    ///
    /// # Errors
    /// Those of `madvise`.
    #[cfg(target_os = "linux")]
    pub(crate) unsafe fn advise_away(&self, range: Range<usize>, advice: i32) -> io::Result<()> {
        let state = self.state();
        if state.backing.is_some() {
            return Ok(());
        }
        let range = range.start + state.skip..range.end + state.skip;
        // SAFETY: passed on.
        Ok(unsafe { state.region.advise_away(range, advice) }?)
    }

    /// `mlock` of all of it.
    ///
    /// # Errors
    /// Those of `mlock`.
    pub(crate) fn lock_in_memory(&self) -> io::Result<()> {
        Ok(self.state().region.lock()?)
    }

    /// `munlock` of all of it.
    ///
    /// # Errors
    /// Those of `munlock`.
    pub(crate) fn unlock_from_memory(&self) -> io::Result<()> {
        Ok(self.state().region.unlock()?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses in a forked child, whose copy of the memory is a parent's.
    fn own(&self, state: &State) -> Result<(), Error> {
        if self.pid == os::pid() {
            return Ok(());
        }
        let file = state.backing.as_ref().map(|b| b.name.clone()).unwrap_or_default();
        Err(Error::Forked { file })
    }
}

impl State {
    /// The protection that the map shall have.
    fn prot(&self) -> i32 {
        let write = if self.plan.writable { mem::PROT_WRITE } else { 0 };
        mem::PROT_READ | write | if self.plan.exec { mem::PROT_EXEC } else { 0 }
    }

    /// The map's bytes.
    fn bytes(&self) -> Range<usize> {
        self.skip..self.skip + self.plan.len
    }

    /// Where in the store a byte stands.
    fn to_store(&self, byte: usize) -> u64 {
        self.plan.off - self.skip as u64 + byte as u64
    }

    /// The stretch of the store that the map shows.
    fn stretch(&self) -> Range<u64> {
        self.plan.off..self.plan.off + self.plan.len as u64
    }

    /// The memory of a range of bytes.
    ///
    /// # Safety
    /// Nobody may store to them as long as the slice lives.
    unsafe fn slice(&self, range: &Range<usize>) -> &[u8] {
        debug_assert!(range.end <= self.region.len());
        // SAFETY: inside the region, which is readable; the caller vouches for the rest.
        unsafe { core::slice::from_raw_parts(self.region.at(range.start), range.len()) }
    }
}

/// Whole pages around a range of bytes.
fn to_pages(bytes: &Range<usize>) -> Range<usize> {
    let page = os::page_size();
    bytes.start / page..bytes.end.div_ceil(page)
}

/// The bytes of a range of pages.
fn to_bytes(pages: &Range<usize>) -> Range<usize> {
    let page = os::page_size();
    pages.start * page..pages.end * page
}

/// What two ranges of bytes have in common.
fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    page::common(a, b)
}

impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("State")
            .field("plan", &self.plan)
            .field("tracker", &self.tracker)
            .finish_non_exhaustive()
    }
}
