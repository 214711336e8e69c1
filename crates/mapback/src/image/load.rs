//! From the store into the memory: loading, growing and shrinking, taking over what others wrote.

use super::lock::Locked;
use super::partial::Partial;
use super::settle::Settled;
use super::shared::{Record, Slot, Stage};
use super::{Image, Io, to_pages};
use crate::page;
use crate::stats::{add, add_time};
use crate::store::{Stamp, read_range};
use crate::sys::Errno;
use crate::sys::os::{self, file::with_file_size};
use core::ops::Range;
use core::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

impl Image {
    /// Loads the content, unless that was done, by this process or another. Whoever comes second waits for the first.
    ///
    /// # Errors
    /// Those of reading the file; `ENOMEM`; `ENOSPC` where the shared directory is full.
    pub(crate) fn load(&self) -> Result<(), Errno> {
        let mut io = self.lock();
        if io.loaded || self.is_loaded_by_others(&mut io)? {
            return Ok(());
        }
        if io.control.is_none() && self.dir.is_some() {
            // A forked child that could not enter: the memory is its parent's.
            return Err(Errno::ACCESS);
        }
        self.replay_journal(&io)?;
        let stamp = io.stamp()?;
        if let Some(control) = &mut io.control
            && control.record().stage == Stage::Ready
        {
            // Should this process die on the way, nobody may take what is there for content.
            control.write(Record { stage: Stage::Empty, ..control.record() })?;
        }
        // Nobody has a map yet; what a loader that died has left is no content.
        self.set_len(&mut io, 0, 0)?;
        self.set_len(&mut io, 0, stamp.len)?;
        let read = self.read_data(&mut io, 0..stamp.len)?;
        if read < stamp.len {
            // The file became shorter while it was read.
            self.set_len(&mut io, stamp.len, read)?;
        }
        if let Some(control) = &mut io.control {
            let stamp = Stamp { len: read, ..stamp };
            control.write(Record { stage: Stage::Ready, stamp, ..Record::default() })?;
        }
        io.loaded = true;
        Ok(())
    }

    /// Takes the content as it is in the memory, if another process loaded it; settles before what processes left that
    /// died.
    fn is_loaded_by_others(&self, io: &mut Locked<'_>) -> Result<bool, Errno> {
        let Some(control) = &io.control else { return Ok(false) };
        let (record, neighbours) = (control.record(), control.neighbours());
        let alone = neighbours.live.is_empty();
        if !alone {
            self.note_shared(io);
        }
        let there = self.shm.len()?;
        if record.stage != Stage::Ready {
            self.forget_all(io, &neighbours.dead);
            return Ok(false);
        }
        self.cover(io, there)?;
        self.len.store(there, Ordering::Release);
        let owing = neighbours.dead.iter().any(|(_, slot)| slot.owes);
        let dead = neighbours.dead.clone();
        let settled = self.settle_dead(io, neighbours.dead, false);
        // Nobody tracked what an outsider wrote while no process had the image: it is loaded anew.
        let conflict = settled == Settled::Conflict || record.conflict;
        if alone && (io.is_foreign() || conflict) {
            if conflict || (owing && settled != Settled::All) {
                self.set_aside(io)?;
            }
            self.forget_all(io, &dead);
            return Ok(false);
        }
        io.loaded = true;
        Ok(true)
    }

    fn forget_all(&self, io: &Locked<'_>, dead: &[(usize, Slot)]) {
        if let Some(control) = &io.control {
            dead.iter().for_each(|(nth, _)| control.forget(*nth));
        }
    }

    /// Keeps what cannot be written where `recover` finds it, and makes room for the file as it is now.
    fn set_aside(&self, io: &mut Locked<'_>) -> Result<(), Errno> {
        let (Some(control), Some(dir)) = (&mut io.control, &self.dir) else { return Ok(()) };
        let kept = control.set_aside(dir, &self.shm)?;
        control.write(Record { conflict: false, ..control.record() })?;
        crate::report::line(&format!(
            "the changes to {} are kept in {}",
            self.name.display(),
            kept.display()
        ));
        Ok(())
    }

    /// Copies a range of bytes that is about to become writable, if changes are found by comparing and that was not done
    /// yet. Called before the range can be stored to, under the space's lock.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn begin_comparing(&self, bytes: &Range<u64>) -> Result<(), Errno> {
        if !self.compare {
            return Ok(());
        }
        let mut io = self.lock();
        let Io { pristine, .. } = &mut *io;
        let len = self.len();
        if pristine.is_none() {
            *pristine = Some(Partial::new(len)?);
        }
        if let Some(pristine) = pristine {
            pristine.learn(&self.shm, &(bytes.start.min(len)..bytes.end.min(len)), len)?;
        }
        Ok(())
    }

    /// Follows the file to a new length: what is cut off is gone, what is new is read from the store.
    /// The caller arms maps that reach into a new part before, and holds the space's lock.
    ///
    /// # Errors
    /// Those of reading; `ENOMEM`.
    pub(crate) fn follow_file(&self, io: &mut Locked<'_>, len: u64) -> Result<(), Errno> {
        let old = self.len();
        self.set_len(io, old, len)?;
        if len > old {
            self.read_data(io, old..len)?;
        }
        Ok(())
    }

    /// Sets the length of the memory and all that follows it.
    fn set_len(&self, io: &mut Io, old: u64, len: u64) -> Result<(), Errno> {
        self.cover(io, len)?;
        if len > old {
            self.zero_tail(old)?;
        }
        if let Some(pristine) = &mut io.pristine {
            pristine.resize(old, len)?;
        }
        self.shm.resize(len)?;
        self.len.store(len, Ordering::Release);
        let end = page::ceil64(len, os::page_size());
        if end < old {
            io.marks.clear(to_pages(&(end..old)));
        }
        Ok(())
    }

    /// What was stored past the end of the file is no part of it, and must not show when it grows (P11). By a call, as
    /// the last page may be a hole.
    fn zero_tail(&self, old: u64) -> Result<(), Errno> {
        let tail = old..page::ceil64(old, os::page_size());
        if tail.is_empty() { Ok(()) } else { self.shm.punch(tail) }
    }

    /// Reads the stretches of data of a range; holes stay untouched. Returns how far the store reached.
    fn read_data(&self, io: &mut Io, range: Range<u64>) -> Result<u64, Errno> {
        let start = Instant::now();
        let mut at = range.start;
        let mut reached = range.end;
        while let Some(data) = io.store().data(at, range.end) {
            let read = self.fetch(io, data.clone())?;
            add(&self.counters.bytes_loaded, read);
            if data.start + read < data.end {
                reached = data.start + read;
                break;
            }
            at = data.end;
        }
        add_time(&self.counters.load_ns, start);
        Ok(reached)
    }

    /// Takes over bytes that were just written to the file by this process, over whatever the memory has there.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn take_over(&self, io: &mut Locked<'_>, range: Range<u64>) -> Result<(), Errno> {
        let range = range.start..range.end.min(self.len());
        if range.start < range.end { self.fill(io, range).map(drop) } else { Ok(()) }
    }

    /// Reads a range of the store into the memory, by the shortest way. Returns the bytes read.
    fn fetch(&self, io: &mut Io, range: Range<u64>) -> Result<u64, Errno> {
        // A process that was forked after the first load may have the memory's description, and its position, too.
        let first = !io.loaded && io.control.is_some() && io.pristine.is_none();
        let taken = if first { io.store().give(&self.shm, range.clone()) } else { 0 };
        // What was not taken is read, which tells whether the file ends there, or why it cannot be had.
        self.fill(io, range.start + taken..range.end).map(|read| taken + read)
    }

    /// Reads a range of the store into the memory. Returns the bytes read.
    ///
    /// The memory is written by a call, not by stores: where it cannot be had, that is an error and no fault.
    fn fill(&self, io: &mut Io, range: Range<u64>) -> Result<u64, Errno> {
        let Io { first, writer, pristine, .. } = io;
        let store = writer.as_ref().unwrap_or(first);
        let mut buffer = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(PIECE) as usize;
            // `compare` has to know what stands in the store.
            let to = match pristine {
                Some(pristine) => pristine.bytes_mut(at as usize, len),
                None => {
                    buffer.resize(len, 0);
                    &mut buffer[..]
                }
            };
            // SAFETY: `to` is as long as the piece.
            let read = unsafe { read_range(store, to.as_mut_ptr(), at..at + len as u64) }?;
            let end = at + read;
            // SAFETY: as above.
            with_file_size(end, || unsafe { self.shm.write(to.as_ptr(), read as usize, at) })?;
            at = end;
            if read < len as u64 {
                break;
            }
        }
        Ok(at - range.start)
    }

    /// Punches a hole into the file and the memory, as `MADV_REMOVE` does.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system has no holes.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        let mut io = self.lock();
        io.begin_changing(false);
        let punched = io.store().punch(range.clone()).and_then(|()| self.shm.punch(range.clone()));
        io.end_changing();
        punched?;
        io.marks.clear(to_pages(&range));
        let end = range.end.min(self.len()) as usize;
        if let Some(pristine) = &mut io.pristine {
            pristine.zero(range.start as usize..end.max(range.start as usize));
        }
        Ok(())
    }

    /// Takes over what others changed in the file, in pages that this process has not changed (P24).
    ///
    /// A store that is made meanwhile is never overwritten: a word is replaced only if it still is what it was
    /// before it was known to be unchanged. `changed` adds the pages changed since, after the words were read.
    /// `false`: the image may hold what a process that died changed anywhere, and is left as it is.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn refresh(
        &self,
        range: Range<u64>,
        changed: &mut dyn FnMut(Found<'_>),
    ) -> Result<bool, Errno> {
        const CHUNK: u64 = 1 << 20;
        let mut at = range.start;
        let end = range.end.min(self.len());
        let mut fresh = vec![0u8; CHUNK.min(end.saturating_sub(at)) as usize];
        let mut before = fresh.clone();
        while at < end {
            let part = at..end.min(at + CHUNK);
            let mut io = self.lock();
            // SAFETY: `fresh` is as long as any part.
            let read = unsafe { read_range(io.store(), fresh.as_mut_ptr(), part.clone()) }?;
            self.shm.read_exact(&mut before[..read as usize], part.start)?;
            if !self.gather_here(&mut io, &part) {
                return Ok(false);
            }
            // Pages changed up to here must keep their content; `compare` knows of each byte.
            let mut own = Vec::new();
            if io.pristine.is_none() || self.is_shared() {
                changed(&mut |run| own.push(run));
            }
            for run in own {
                let new = io.marks.set(to_pages(&run));
                add(&self.counters.pages_changed, new as u64);
            }
            let exact = !self.is_shared();
            let read = read as usize;
            self.replace(&mut io, part.start, &before[..read], &fresh[..read], exact)?;
            if !io.store().is_writable() {
                // They are others' changes, and stay with them.
                io.marks.clear(to_pages(&part));
            }
            at = part.end;
        }
        Ok(true)
    }

    /// Replaces, from `start` on, each byte that differs in `fresh`, if it is still as in `before`; not in marked pages.
    /// `exact`: the pristine copy, if there is one, tells which bytes are this process's own changes, of marked pages,
    /// too.
    fn replace(
        &self,
        io: &mut Io,
        start: u64,
        before: &[u8],
        fresh: &[u8],
        exact: bool,
    ) -> Result<(), Errno> {
        let page = os::page_size();
        for (nth, (was, new)) in before.chunks(page).zip(fresh.chunks(page)).enumerate() {
            let at = start + (nth * page) as u64;
            let stored = io.pristine.as_ref().filter(|_| exact).and_then(|p| p.page(at as usize, was.len()));
            let stored = stored.map(<[u8]>::to_vec);
            // Who compares counts every page as changed, and knows better.
            if stored.is_none() && io.marks.contains((at / page as u64) as usize) {
                continue;
            }
            if was != new && was.iter().all(|b| *b == 0) {
                // It may be a hole, for which there may be no room: an error here, and not a fault below.
                self.shm.provide(at..at + was.len() as u64)?;
            }
            for (i, (a, b)) in was.iter().zip(new).enumerate() {
                if a != b && stored.as_ref().is_none_or(|stored| stored[i] == *a) {
                    // SAFETY: inside the window, and in memory that is there; an atomic byte, because the program may
                    // store into it right now.
                    let byte = unsafe { AtomicU8::from_ptr(io.window.at(at + i as u64)) };
                    let _ = byte.compare_exchange(*a, *b, Ordering::AcqRel, Ordering::Relaxed);
                }
            }
            if let Some(pristine) = &mut io.pristine {
                pristine.set(at as usize, new);
            }
        }
        Ok(())
    }
}

/// Bytes that are read at a time: small enough to stay in a cache on their way.
const PIECE: u64 = 256 << 10;

/// Receives ranges of bytes.
pub(crate) type Found<'a> = &'a mut dyn FnMut(Range<u64>);
