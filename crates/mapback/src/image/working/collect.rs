//! What of a working copy was stored to.

use super::{Branching, Exact, OnConflict, State, to_bytes, to_pages};
use crate::sys::os::mem;
use crate::track::{Pristine, TrackerKind, process};
use core::ops::Range;
use std::io;

/// The trackers to try when none is asked for. `fault` is not among them: with it `read(2)` into a map fails.
const ORDER: [TrackerKind; 2] = [TrackerKind::ALL[0], TrackerKind::Compare];

impl State {
    /// Begins to track, if what is stored shall be written back.
    pub(super) fn track(&mut self) -> io::Result<()> {
        if !self.plan.shared || self.backing.is_none() {
            return Ok(());
        }
        let tracker = self.arm_first()?;
        self.tracker = Some(tracker);
        let exact = tracker == TrackerKind::Compare || self.plan.on_conflict == OnConflict::Merge;
        if exact && self.pristine.is_none() {
            let mut stored = Pristine::default();
            stored.resize(self.region.len())?;
            let bytes = self.bytes();
            if !bytes.is_empty() {
                // SAFETY: nobody has the memory yet, or `&mut` says that nobody stores to it.
                stored.set(bytes.start, unsafe { self.slice(&bytes) });
            }
            self.pristine = Some(Exact { stored, ..Exact::default() });
        }
        Ok(())
    }

    fn arm_first(&self) -> io::Result<TrackerKind> {
        let mut last = io::Error::from(io::ErrorKind::Unsupported);
        let wanted = self.plan.tracker.as_slice();
        for kind in if wanted.is_empty() { &ORDER } else { wanted } {
            match self.arm(*kind) {
                Ok(()) => return Ok(*kind),
                Err(errno) => last = io::Error::new(errno.kind(), format!("the tracker {kind}: {errno}")),
            }
        }
        Err(last)
    }

    fn arm(&self, kind: TrackerKind) -> Result<(), crate::Errno> {
        if self.region.len() == 0 {
            return Ok(());
        }
        let all = self.region.addresses(&(0..self.region.len()));
        process::with(kind, |tracker| tracker.arm(all, mem::PROT_READ | mem::PROT_WRITE))
    }

    /// Sets the protection that the map shall have.
    pub(super) fn reprotect(&mut self) -> io::Result<()> {
        let prot = self.prot();
        let Some(kind) = self.tracker.filter(|_| self.region.len() > 0) else {
            return Ok(self.region.protect(prot)?);
        };
        let all = self.region.addresses(&(0..self.region.len()));
        Ok(process::with(kind, |tracker| tracker.protect(all, prot))?)
    }

    /// Marks what was stored to in a range of bytes, and arms it again: what is read from now on has those stores (I2).
    pub(super) fn collect(&mut self, bytes: &Range<usize>) {
        let Some(kind) = self.tracker else { return };
        let mut bytes = to_bytes(&to_pages(bytes));
        bytes.end = bytes.end.min(self.region.len());
        if bytes.is_empty() {
            return;
        }
        let (addresses, origin) = (self.region.addresses(&bytes), self.region.at(0) as usize);
        let done = process::with(kind, |tracker| {
            tracker.collect(addresses, &mut |run| {
                note(&mut self.marks, &mut self.base, &(run.start - origin..run.end - origin));
            })
        });
        if done.is_err() {
            // Tracking was lost: all counts as changed.
            if self.arm(kind).is_err() {
                return self.track_nothing();
            }
            note(&mut self.marks, &mut self.base, &(0..self.region.len()));
        }
    }

    /// Where no tracker can be had any more: all counts as changed, always.
    pub(super) fn track_nothing(&mut self) {
        self.tracker = Some(TrackerKind::Whole);
        let _ = self.region.protect(self.prot());
        note(&mut self.marks, &mut self.base, &(0..self.region.len()));
    }

    /// Takes stores of the library's own for what they are: not the owner's.
    pub(super) fn collect_ours(&mut self, act: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let kept = core::mem::take(&mut self.marks);
        let done = act(self);
        let all = 0..self.region.len();
        // To the others everything is the owner's, or what differs.
        if self.tracker.is_some_and(TrackerKind::notes_pages) {
            self.collect(&all);
        }
        self.marks = kept;
        done
    }

    /// Ends tracking: all that was stored is marked. `last` is the protection from now on. If it lets stores through,
    /// nobody may make one before the memory is tracked again.
    pub(super) fn retire(&mut self, last: i32) {
        let Some(kind) = self.tracker.take().filter(|_| self.region.len() > 0) else { return };
        let (all, origin) = (self.region.addresses(&(0..self.region.len())), self.region.at(0) as usize);
        let done = process::with(kind, |tracker| {
            tracker.retire(all, last, &mut |run| {
                note(&mut self.marks, &mut self.base, &(run.start - origin..run.end - origin));
            })
        });
        if done.is_err() {
            note(&mut self.marks, &mut self.base, &(0..self.region.len()));
        }
    }
}

fn note(marks: &mut super::Marks, base: &mut Option<Branching>, bytes: &Range<usize>) {
    marks.set(to_pages(bytes));
    if let Some(base) = base {
        base.changed.set(to_pages(bytes));
    }
}
