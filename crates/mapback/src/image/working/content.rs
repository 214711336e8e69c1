//! From the store into the memory: load, reload, revert, and another length.

use super::{Depth, State, Working, common, to_bytes, to_pages};
use crate::error::Error;
use crate::page;
use crate::store::{Stat, Store, read_full};
use crate::sys::os::{self, mem, region::Region};
use crate::track::TrackerKind;
use core::ops::Range;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// How much is read at a time.
const PIECE: usize = 8 << 20;
/// How often a file that is being changed is loaded again, in the hope of a quiet moment.
const TRIES: usize = 3;

impl State {
    /// Loads the content of a copy that nobody has yet.
    pub(super) fn load_all(&mut self) -> io::Result<()> {
        let Some(entry) = self.backing.as_ref().map(|backing| backing.entry.clone()) else { return Ok(()) };
        let mut known = entry.lock();
        let backing = self.backing.as_ref().expect("just looked at");
        backing.settle(&mut known)?;
        let store = backing.store.clone();
        for nth in 1.. {
            let before = store.stat()?;
            known.notice(before);
            self.seen = (known.generation(), before);
            self.fill(&*store, self.bytes(), before)?;
            // If it changed meanwhile, and goes on changing, the first flush will say so.
            if store.stat()? == before || nth == TRIES {
                break;
            }
        }
        Ok(())
    }

    /// Reads a range of bytes, as far as the store reaches. Nobody may have references to the memory. Returns an error
    /// that names what could not be read.
    fn fill(&self, store: &dyn Store, bytes: Range<usize>, now: Stat) -> Result<(), Error> {
        let origin = self.to_store(0);
        let limit = now.len.min(self.to_store(bytes.end));
        let mut at = self.to_store(bytes.start);
        while at < limit {
            let Some(data) = store.data(at..limit) else { return Ok(()) };
            let data = data.start.max(at)..data.end.min(limit);
            if data.is_empty() {
                return Ok(());
            }
            let end = data.end.min(data.start + PIECE as u64);
            let len = (end - data.start) as usize;
            let to = self.region.at((data.start - origin) as usize);
            // SAFETY: inside the region, writable, and nobody else has the memory (see above).
            let to = unsafe { core::slice::from_raw_parts_mut(to, len) };
            let n =
                read_full(store, to, data.start).map_err(|source| self.unread(data.start..end, source))?;
            if n < len {
                // The store became shorter while it was read.
                return Ok(());
            }
            at = end;
        }
        Ok(())
    }

    fn unread(&self, range: Range<u64>, source: io::Error) -> Error {
        let file = self.backing.as_ref().map(|b| b.name.clone()).unwrap_or_default();
        Error::Read { file, range, source }
    }

    /// The bytes that a range of the store has now; past its end they are zero.
    fn fresh(&self, store: &dyn Store, bytes: &Range<usize>) -> Result<Vec<u8>, Error> {
        let mut fresh = vec![0; bytes.len()];
        let off = self.to_store(bytes.start);
        let n = read_full(store, &mut fresh, off)
            .map_err(|source| self.unread(off..off + bytes.len() as u64, source))?;
        fresh[n..].fill(0);
        Ok(fresh)
    }

    /// Puts bytes into the memory, where they differ: a page that is as it was is not touched.
    ///
    /// # Safety
    /// Nobody else may load from or store to the memory meanwhile.
    unsafe fn put(&mut self, at: usize, bytes: &[u8]) {
        let page = os::page_size();
        let mut from = 0;
        while from < bytes.len() {
            let end = (page::floor(at + from, page) + page - at).min(bytes.len());
            // SAFETY: inside the region; the caller vouches for the rest.
            let to = unsafe { core::slice::from_raw_parts_mut(self.region.at(at + from), end - from) };
            if *to != bytes[from..end] {
                to.copy_from_slice(&bytes[from..end]);
            }
            from = end;
        }
    }

    /// Takes over a stretch of fresh content, but for what the owner changed.
    ///
    /// # Safety
    /// As [`State::put`].
    unsafe fn take_over(&mut self, bytes: Range<usize>, mut fresh: Vec<u8>, own: &super::Marks) {
        let page = os::page_size();
        for nth in to_pages(&bytes) {
            if !own.contains(nth) {
                continue;
            }
            let part = common(&(nth * page..(nth + 1) * page), &bytes);
            let at = part.start - bytes.start..part.end - bytes.start;
            // SAFETY: the caller's word: nobody stores to it.
            let mine = unsafe { self.slice(&part) }.to_vec();
            match &mut self.pristine {
                None => fresh[at].copy_from_slice(&mine),
                Some(exact) => {
                    let stored = exact.stored.get(part.start, part.len()).to_vec();
                    exact.stored.set(part.start, &fresh[at.clone()]);
                    let both = mine.iter().zip(&stored).zip(&mut fresh[at.clone()]);
                    both.filter(|((mine, was), _)| mine != was).for_each(|((mine, _), to)| *to = *mine);
                    for owed in exact.owed.overlapping(&part) {
                        let owed = common(owed, &part);
                        let from = owed.start - part.start..owed.end - part.start;
                        fresh[at.start + from.start..at.start + from.end].copy_from_slice(&mine[from]);
                    }
                }
            }
        }
        if let Some(exact) = &mut self.pristine {
            for nth in to_pages(&bytes).filter(|nth| !own.contains(*nth)) {
                let part = common(&(nth * page..(nth + 1) * page), &bytes);
                exact.stored.set(part.start, &fresh[part.start - bytes.start..part.end - bytes.start]);
            }
        }
        // SAFETY: passed on.
        unsafe { self.put(bytes.start, &fresh) };
    }

    fn reload(&mut self) -> io::Result<()> {
        let Some(store) = self.backing.as_ref().map(|backing| backing.store.clone()) else {
            return Err(unsupported("anonymous memory has no file to be reloaded from"));
        };
        let entry = self.backing.as_ref().expect("just looked at").entry.clone();
        let all = self.bytes();
        self.collect(&all);
        let mut known = entry.lock();
        self.backing.as_ref().expect("just looked at").settle(&mut known)?;
        let now = store.stat()?;
        known.notice(now);
        let generation = known.generation();
        self.writable_for(|state| {
            let own = core::mem::take(&mut state.marks);
            let done = state.collect_ours(|state| state.reload_pieces(&store, &own));
            state.marks = own;
            done
        })?;
        self.seen = (generation, now);
        Ok(())
    }

    fn reload_pieces(&mut self, store: &Arc<dyn Store>, own: &super::Marks) -> io::Result<()> {
        let all = self.bytes();
        for start in all.clone().step_by(PIECE) {
            let part = start..all.end.min(start + PIECE);
            let fresh = self.fresh(&**store, &part)?;
            // SAFETY: the owner's `&mut` says that nobody else looks at the memory.
            unsafe { self.take_over(part, fresh, own) };
        }
        Ok(())
    }

    /// Does something that stores to the memory, which may be read-only to its owner.
    fn writable_for(&mut self, act: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let was = core::mem::replace(&mut self.plan.writable, true);
        let done = self.reprotect().and_then(|()| act(self));
        self.plan.writable = was;
        done.and(if was { Ok(()) } else { self.reprotect() })
    }

    fn revert(&mut self) -> io::Result<()> {
        let Some(entry) = self.backing.as_ref().map(|b| b.entry.clone()).filter(|_| self.tracker.is_some())
        else {
            return Err(unsupported("only a map that is written back can be reverted"));
        };
        let all = self.bytes();
        self.collect(&all);
        let mut known = entry.lock();
        let backing = self.backing.as_ref().expect("just looked at");
        backing.settle(&mut known)?;
        self.check(&mut known)?;
        let store = self.backing.as_ref().expect("just looked at").store.clone();
        let mut rest = 0..usize::MAX;
        while let Some(run) = self.marks.take_run(&rest, PIECE / os::page_size()) {
            rest.start = run.end;
            let bytes = common(&to_bytes(&run), &all);
            let revert = |state: &mut State| {
                let fresh = state.fresh(&*store, &bytes)?;
                if let Some(exact) = &mut state.pristine {
                    exact.stored.set(bytes.start, &fresh);
                    exact.owed.remove(bytes.clone());
                }
                // SAFETY: the owner's `&mut` says that nobody else looks at the memory.
                unsafe { state.put(bytes.start, &fresh) };
                io::Result::Ok(())
            };
            if let Err(error) = revert(self) {
                self.marks.set(run);
                return Err(error);
            }
        }
        self.collect_ours(|_| Ok(()))
    }

    fn resize(&mut self, len: usize, may_move: bool) -> io::Result<()> {
        // The kernel moves only what is one map to it, and a tracker's range must not be another map's.
        let kind = self.tracker;
        // The owner's `&mut` says that nobody stores meanwhile. What is writable stays so: the system may refuse to make
        // it writable once more, and then a map that could not be resized would be no good any more.
        self.retire(self.prot());
        // A store is anybody's code. Should it panic, what is stored to the map afterwards must be noticed all the same.
        let done = catch_unwind(AssertUnwindSafe(|| self.resize_untracked(len, may_move)));
        let rearmed = self.rearm(kind);
        rearmed.and(done.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    fn resize_untracked(&mut self, len: usize, may_move: bool) -> io::Result<()> {
        let old = self.bytes();
        let all = if len == 0 { 0 } else { self.skip.checked_add(len).ok_or(io::ErrorKind::OutOfMemory)? };
        if len < self.plan.len {
            // What is cut off must be in the file, as after munmap.
            let depth = if self.atomic { Depth::Atomic } else { Depth::Written };
            self.flush_marked(&(self.skip + len..old.end), depth, false)?;
        }
        // Memory that had content before: to the end of the page, and what the base still has of what was cut off.
        let used = to_bytes(&to_pages(&old)).end.max(self.base.as_ref().map_or(0, |b| b.base.len()));
        self.resize_memory(all, may_move)?;
        self.plan.len = self.plan.len.min(len);
        let new = old.end..self.skip + len;
        if !new.is_empty() {
            self.clear(new.start..used.min(new.end));
            // What cannot be loaded is no part of the map, or it might be written over what the file has there.
            self.load_more(&new)?;
            self.plan.len = len;
        }
        Ok(())
    }

    fn resize_memory(&mut self, all: usize, may_move: bool) -> io::Result<()> {
        if let Some(branching) = &mut self.base
            && !branching.base.resize(all)?
        {
            self.base = None;
        }
        self.region.protect(mem::PROT_READ | mem::PROT_WRITE)?;
        match self.region.resize(all, may_move) {
            Err(crate::Errno::FAULT) if may_move => self.rehome(all)?,
            Err(crate::Errno::FAULT) => return Err(io::ErrorKind::OutOfMemory.into()),
            done => done?,
        }
        if let Some(exact) = &mut self.pristine {
            exact.stored.resize(self.region.len())?;
        }
        Ok(())
    }

    /// Zeroes memory that is about to be loaded: a store's holes are not read, nor what is past its end.
    fn clear(&mut self, bytes: Range<usize>) {
        if bytes.is_empty() {
            return;
        }
        // SAFETY: inside the region, which is writable; the owner's `&mut` says that nobody else looks at the memory.
        unsafe { core::ptr::write_bytes(self.region.at(bytes.start), 0, bytes.len()) };
    }

    /// Moves to a new, longer region.
    fn rehome(&mut self, all: usize) -> io::Result<()> {
        let region = Region::new(all, self.plan.huge)?;
        // SAFETY: the new region is longer than the old one, and nobody has it yet; the owner's `&mut` says that nobody
        // stores to the old one.
        unsafe { core::ptr::copy_nonoverlapping(self.region.at(0), region.at(0), self.region.len()) };
        self.region = region;
        self.base = None;
        Ok(())
    }

    /// Loads what is added.
    fn load_more(&mut self, new: &Range<usize>) -> io::Result<()> {
        let Some(store) = self.backing.as_ref().map(|backing| backing.store.clone()) else { return Ok(()) };
        let now = store.stat()?;
        self.fill(&*store, new.clone(), now)?;
        if let Some(mut exact) = self.pristine.take() {
            // SAFETY: the owner's `&mut` says that nobody stores to the memory.
            exact.stored.set(new.start, unsafe { self.slice(new) });
            self.pristine = Some(exact);
        }
        if let Some(branching) = &mut self.base {
            branching.changed.set(to_pages(new));
        }
        Ok(())
    }

    /// Tracks again after [`State::retire`], with the tracker that was there; should that fail, all counts as changed.
    pub(super) fn rearm(&mut self, kind: Option<TrackerKind>) -> io::Result<()> {
        if let Some(kind) = kind {
            let wanted = self.plan.tracker.replace(kind);
            if self.track().is_err() {
                self.track_nothing();
            }
            self.plan.tracker = wanted;
        }
        self.reprotect()
    }
}

impl Working {
    /// Takes the store's content of now, and keeps what the owner changed. The caller has the memory to itself.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn reload(&self) -> io::Result<()> {
        self.state().reload()
    }

    /// Drops what was changed since the last flush. The caller has the memory to itself.
    ///
    /// # Errors
    /// Those of reading; a conflict.
    pub(crate) fn revert(&self) -> io::Result<()> {
        self.state().revert()
    }

    /// Gives the map another length. The caller has the memory to itself.
    ///
    /// # Errors
    /// `ENOMEM`; those of reading what is added and writing what is cut off.
    pub(crate) fn resize(&self, len: usize, may_move: bool) -> io::Result<()> {
        let mut state = self.state();
        self.own(&state)?;
        state.resize(len, may_move)
    }
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}
