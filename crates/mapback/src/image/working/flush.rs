//! From the memory into the store: changed pages → runs → clipped at the end of the file → written.

use super::registry::Known;
use super::{Exact, Marks, OnConflict, State, Working, common, to_bytes, to_pages};
use crate::error::Error;
use crate::store::{JournalStore, Stat, Store, Write};
use crate::sys::os::{self, mem, region::Region};
use core::ops::Range;
use rangemap::RangeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// The longest run, in bytes.
const MOST: usize = 16 << 20;
/// How much is copied at a time where others may be storing to the memory.
const COPY: usize = 8 << 20;

/// How far written content shall get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Into the store.
    Written,
    /// Onto the storage.
    Synced,
    /// Onto the storage, all of it or none.
    Atomic,
}

/// What became of some runs.
#[derive(Default)]
struct Outcome {
    written: Vec<Range<usize>>,
    missing: Vec<Range<usize>>,
    /// The first that failed.
    error: Option<(Range<usize>, io::Error)>,
}

impl Working {
    /// Writes back what was changed in a range of the map.
    ///
    /// # Errors
    /// [`Error`]: what failed stays changed.
    pub(crate) fn flush(&self, range: Range<usize>, depth: Depth) -> Result<(), Error> {
        let mut state = self.state();
        self.own(&state)?;
        let bytes = range.start + state.skip..range.end + state.skip;
        state.flush(&bytes, depth, self.is_live())
    }

    /// Writes back everything for the last time, and lets the journal go.
    ///
    /// # Errors
    /// As [`Working::flush`].
    pub(crate) fn close(&self) -> Result<(), Error> {
        let mut state = self.state();
        self.own(&state)?;
        let done = state.flush_last(self.is_live());
        state.retire(mem::PROT_READ);
        let settled =
            state.backing.as_ref().map_or(Ok(()), |backing| backing.settle(&mut backing.entry.lock()));
        done.and(settled)
    }
}

impl Working {
    /// Writes back for the last time, and tells whoever listens to `tracing` what could not be. Doing it again is
    /// nothing.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        if self.pid == os::pid()
            && let Err(error) = state.flush_last(self.is_live())
        {
            tracing::error!(%error, "a map was dropped, and its changes are lost");
        }
        state.retire(mem::PROT_READ);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn flush_last(&mut self, live: bool) -> Result<(), Error> {
        let all = self.bytes();
        let depth = if self.atomic { Depth::Atomic } else { Depth::Written };
        self.flush(&all, depth, live)
    }

    fn flush(&mut self, bytes: &Range<usize>, depth: Depth, live: bool) -> Result<(), Error> {
        if self.tracker.is_none() {
            return Ok(());
        }
        self.collect(bytes);
        self.flush_marked(bytes, depth, live)
    }

    /// Writes back what is marked in a range of bytes.
    pub(super) fn flush_marked(
        &mut self,
        bytes: &Range<usize>,
        depth: Depth,
        live: bool,
    ) -> Result<(), Error> {
        if depth == Depth::Atomic {
            // What a plain flush wrote is not on the storage for certain, and belongs to this commit, too.
            self.doubt();
        }
        let Some(entry) = self.backing.as_ref().map(|backing| backing.entry.clone()) else { return Ok(()) };
        let mut known = entry.lock();
        let runs = self.take_runs(bytes);
        // A store is anybody's code, and may panic: nothing is lost by that, either.
        let done = catch_unwind(AssertUnwindSafe(|| match (&self.backing, runs.is_empty()) {
            (_, false) => self.flush_runs(&mut known, &runs, depth, live),
            // Commits that wait in the journal: a plain flush brings them along.
            (Some(backing), true) if depth != Depth::Atomic => backing.settle(&mut known),
            (_, true) => Ok(()),
        }));
        if !matches!(done, Ok(Ok(()))) {
            mark(&mut self.marks, &runs);
        }
        let done = done.unwrap_or_else(|panic| resume_unwind(panic));
        if done.is_ok() && depth == Depth::Synced && !self.unsynced.is_empty() {
            return self.sync();
        }
        done
    }

    fn take_runs(&mut self, bytes: &Range<usize>) -> Vec<Range<usize>> {
        let pages = to_pages(bytes);
        let mut runs = Vec::new();
        self.marks.take_runs(&pages, MOST / os::page_size(), |run| runs.push(to_bytes(&run)));
        runs
    }

    /// Writes runs that are no longer marked. On error the caller marks all of them again.
    fn flush_runs(
        &mut self,
        known: &mut Known,
        runs: &[Range<usize>],
        depth: Depth,
        live: bool,
    ) -> Result<(), Error> {
        let now = self.check(known)?;
        let backing = self.backing.as_ref().expect("checked by the caller");
        let journal = match depth {
            Depth::Atomic => Some(backing.journal(known)?),
            _ => backing.settle(known).map(|()| None)?,
        };
        let store = journal.as_ref().map_or_else(|| backing.store.clone(), |j| j.clone() as Arc<dyn Store>);
        let runs = self.clip(runs, now.len);
        let origin = self.to_store(0);
        let outcome = write_runs(&self.region, self.pristine.as_mut(), &*store, origin, &runs, live);
        let mut done = self.note(outcome);
        if let Some(journal) = journal {
            done = self.commit(&journal, done);
        }
        // Whatever became of it, the file's times changed by our own hand.
        let after = self.backing.as_ref().expect("still there").store.stat().ok();
        let hull = runs.first().map_or(0, |run| run.start)..runs.last().map_or(0, |run| run.end);
        known.wrote(self.to_store(hull.start)..self.to_store(hull.end), after);
        self.seen = (known.generation(), after.unwrap_or(now));
        done
    }

    /// Asks for the file's state, and refuses if others changed it (I7).
    pub(super) fn check(&self, known: &mut Known) -> Result<Stat, Error> {
        let backing = self.backing.as_ref().expect("only copies of a store are written back");
        let fail = |source| Error::Read { file: backing.name.clone(), range: self.stretch(), source };
        let now = backing.store.stat().map_err(fail)?;
        known.notice(now);
        if self.plan.on_conflict == OnConflict::Error
            && let Some(conflict) = known.conflict(self.seen.0, self.seen.1, &self.stretch(), &backing.name)
        {
            return Err(conflict.into());
        }
        Ok(now)
    }

    /// Cuts runs to the map and to the file, which never gets longer (I3). What a map has past the end of its file stays
    /// marked: the file may grow.
    fn clip(&mut self, runs: &[Range<usize>], file_len: u64) -> Vec<Range<usize>> {
        let end = usize::try_from(file_len.saturating_sub(self.to_store(0))).unwrap_or(usize::MAX);
        let mut clipped = Vec::with_capacity(runs.len());
        for run in runs {
            let run = common(run, &self.bytes());
            if run.end > end {
                self.marks.set(to_pages(&(run.start.max(end)..run.end)));
            }
            let run = run.start..run.end.min(end);
            if !run.is_empty() {
                clipped.push(run);
            }
        }
        clipped
    }

    /// Keeps account of what was written and what was not.
    fn note(&mut self, outcome: Outcome) -> Result<(), Error> {
        mark(&mut self.unsynced, &outcome.written);
        mark(&mut self.marks, &outcome.missing);
        let Some((range, source)) = outcome.error else { return Ok(()) };
        let file = self.name();
        Err(Error::Write { file, range: self.to_store(range.start)..self.to_store(range.end), source })
    }

    fn name(&self) -> std::path::PathBuf {
        self.backing.as_ref().map(|backing| backing.name.clone()).unwrap_or_default()
    }

    /// Commits what was written to the journal, or forgets it whole.
    fn commit(&mut self, journal: &JournalStore, written: Result<(), Error>) -> Result<(), Error> {
        let file = self.name();
        let done = match written {
            Ok(()) => journal.sync().map_err(|source| Error::Journal { file, source }),
            Err(error) => {
                journal.abort();
                Err(match error {
                    Error::Write { file, source, .. } => Error::Journal { file, source },
                    other => other,
                })
            }
        };
        if done.is_ok() {
            self.atomic = true;
            self.settled();
        } else {
            self.doubt();
        }
        done
    }

    fn sync(&mut self) -> Result<(), Error> {
        let backing = self.backing.as_ref().expect("something was written");
        let done = backing.store.sync().map_err(|source| Error::Sync { file: backing.name.clone(), source });
        if done.is_ok() {
            self.settled()
        } else {
            self.doubt()
        }
        done
    }

    /// All that was written is on the storage.
    fn settled(&mut self) {
        self.unsynced = Default::default();
        if let Some(exact) = &mut self.pristine {
            exact.unsynced.clear();
        }
    }

    /// Nobody knows what of the writes since the last sync is on the storage: all of them are to be done again.
    fn doubt(&mut self) {
        let State { unsynced, marks, .. } = self;
        unsynced.take_runs(&(0..usize::MAX), usize::MAX, |run| {
            marks.set(run);
        });
        if let Some(exact) = &mut self.pristine {
            exact.owed.extend(core::mem::take(&mut exact.unsynced));
        }
    }
}

fn mark(marks: &mut Marks, runs: &[Range<usize>]) {
    for run in runs {
        marks.set(to_pages(run));
    }
}

/// Writes runs of a region, byte 0 of which stands at `origin` in the store. All are tried.
fn write_runs(
    region: &Region,
    mut exact: Option<&mut Exact>,
    store: &dyn Store,
    origin: u64,
    runs: &[Range<usize>],
    live: bool,
) -> Outcome {
    let mut outcome = Outcome::default();
    if !live {
        // SAFETY: nobody stores to the memory: a reference to the map is borrowed, and it is not live. The slices are
        // gone before this returns.
        let slice =
            |run: &Range<usize>| unsafe { core::slice::from_raw_parts(region.at(run.start), run.len()) };
        let group: Vec<_> = runs.iter().map(|run| (run.start, slice(run))).collect();
        write_group(&group, exact, store, origin, &mut outcome);
        return outcome;
    }
    let pieces = runs.iter().flat_map(|run| run.clone().step_by(COPY).map(|at| at..run.end.min(at + COPY)));
    let mut copies: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut held = 0;
    for piece in pieces {
        let mut copy = vec![0; piece.len()];
        if let Err(errno) = region.copy_live(piece.start, &mut copy) {
            outcome.missing.push(piece.clone());
            outcome.error.get_or_insert((piece, errno.into()));
            continue;
        }
        held += copy.len();
        copies.push((piece.start, copy));
        if held >= COPY {
            write_copies(&mut copies, exact.as_deref_mut(), store, origin, &mut outcome);
            held = 0;
        }
    }
    write_copies(&mut copies, exact, store, origin, &mut outcome);
    outcome
}

fn write_copies(
    copies: &mut Vec<(usize, Vec<u8>)>,
    exact: Option<&mut Exact>,
    store: &dyn Store,
    origin: u64,
    outcome: &mut Outcome,
) {
    let group: Vec<_> = copies.iter().map(|(at, copy)| (*at, copy.as_slice())).collect();
    write_group(&group, exact, store, origin, outcome);
    copies.clear();
}

/// Writes stretches of content, given with where they begin in the region.
fn write_group(
    group: &[(usize, &[u8])],
    mut exact: Option<&mut Exact>,
    store: &dyn Store,
    origin: u64,
    outcome: &mut Outcome,
) {
    let mut writes = Vec::with_capacity(group.len());
    for (at, bytes) in group {
        match exact.as_deref() {
            None => writes.push(Write::new(origin + *at as u64, bytes)),
            Some(exact) => {
                writes.extend(exact.pieces(*at, bytes).into_iter().map(|part| {
                    Write::new(origin + part.start as u64, &bytes[part.start - at..part.end - at])
                }))
            }
        }
    }
    store.write(&mut writes);
    for write in writes {
        let start = (write.off - origin) as usize;
        let (done, end) = (start + write.done.min(write.bytes.len()), start + write.bytes.len());
        if start < done {
            outcome.written.push(start..done);
            if let Some(exact) = exact.as_deref_mut() {
                exact.wrote(start, &write.bytes[..done - start]);
            }
        }
        if done < end {
            outcome.missing.push(done..end);
            let source = write.error.unwrap_or_else(|| io::ErrorKind::WriteZero.into());
            outcome.error.get_or_insert((done..end, source));
        }
    }
}

impl Exact {
    /// The stretches of `now`, standing at `at`, that have to be written.
    fn pieces(&self, at: usize, now: &[u8]) -> Vec<Range<usize>> {
        let mut parts = RangeSet::new();
        self.stored.differences(at, now, &mut |part| parts.insert(part));
        for owed in self.owed.overlapping(&(at..at + now.len())) {
            parts.insert(owed.start.max(at)..owed.end.min(at + now.len()));
        }
        parts.into_iter().collect()
    }

    fn wrote(&mut self, at: usize, bytes: &[u8]) {
        self.stored.set(at, bytes);
        self.unsynced.insert(at..at + bytes.len());
        self.owed.remove(at..at + bytes.len());
    }
}
