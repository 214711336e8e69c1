//! From the store into the memory: loading, growing and shrinking, taking over what others wrote.

use super::{Image, Io, to_pages};
use crate::page;
use crate::stats::{add, add_time};
use crate::store::read_range;
use crate::sys::Errno;
use crate::sys::os;
use crate::track::Pristine;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

/// Receives ranges of bytes.
pub(crate) type Found<'a> = &'a mut dyn FnMut(Range<u64>);

impl Image {
    /// Loads the content, unless this or another process has. Whoever comes second waits for the first.
    ///
    /// # Errors
    /// Those of reading the file; `ENOMEM`.
    pub(crate) fn load(&self) -> Result<(), Errno> {
        let mut io = self.io.lock();
        if io.loaded {
            return Ok(());
        }
        let _alone = self.section.loading();
        if self.section.is_ready() {
            self.set_len(&mut io, 0, self.section.len())?;
        } else {
            self.replay_journal(&io)?;
            let len = io.store().len()?.min(self.section.capacity());
            self.set_len(&mut io, 0, len)?;
            let read = self.fill(&mut io, 0..len)?;
            if read < len {
                // The file became shorter while it was read.
                self.set_len(&mut io, len, read)?;
            }
            self.section.set_ready();
        }
        io.loaded = true;
        Ok(())
    }

    /// Makes the pristine copy, if changes are found by comparing and there is none yet. No map of the file is writable
    /// in this process before. What other processes stored meanwhile is theirs to write back.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn begin_comparing(&self) -> Result<(), Errno> {
        let mut io = self.io.lock();
        if !self.compare || io.pristine.is_some() {
            return Ok(());
        }
        let mut pristine = Pristine::default();
        let len = usize::try_from(self.len()).map_err(|_| Errno::NOMEM)?;
        pristine.resize(len)?;
        // SAFETY: inside the library's view, which covers the image's length; a plain copy of memory that others may
        // store into.
        unsafe {
            core::ptr::copy_nonoverlapping(self.section.at(0), pristine.bytes_mut(0, len).as_mut_ptr(), len)
        };
        io.pristine = Some(pristine);
        Ok(())
    }

    /// Follows the file to a new length: what is cut off is gone, what is new is read from the store.
    /// The caller arms maps that reach into a new part before, and holds the space's lock.
    ///
    /// # Errors
    /// Those of reading; `ENOMEM`; `EFBIG` where the image has no room.
    pub(crate) fn resize(&self, len: u64) -> Result<(), Errno> {
        let mut io = self.io.lock();
        // Another process may have changed the memory's length, and filled it.
        let (known, there) = (self.len(), self.shared_len());
        self.set_len(&mut io, known, len)?;
        if len > there {
            self.fill(&mut io, there..len)?;
        }
        // Also what another process has filled.
        let Io { first, writer, edges, .. } = &mut *io;
        edges.read(writer.as_ref().unwrap_or(first), &(known.min(len)..known.max(len)))
    }

    /// Sets the length of the memory and all that follows it.
    fn set_len(&self, io: &mut Io, old: u64, len: u64) -> Result<(), Errno> {
        if let Some(pristine) = &mut io.pristine {
            pristine.resize(usize::try_from(len).map_err(|_| Errno::NOMEM)?)?;
            if len < old {
                pristine.zero_from(len as usize);
            }
        }
        self.zero_tail(old.min(len));
        self.section.resize(len)?;
        self.len.store(len, Ordering::Release);
        let end = page::ceil64(len, os::page_size());
        if end < old {
            io.marks.clear(to_pages(&(end..old)));
        }
        Ok(())
    }

    /// What was stored past the end of the file is no part of it, and must not show when it grows (P11).
    fn zero_tail(&self, end: u64) {
        let tail = end..page::ceil64(end, os::page_size());
        if self.len() == 0 || tail.is_empty() {
            return;
        }
        // SAFETY: in the last page of the content, which is committed; other threads may store into the same bytes
        // through their maps, as they may beside any truncation.
        let zero = || unsafe {
            core::ptr::write_bytes(self.section.at(tail.start), 0, (tail.end - tail.start) as usize)
        };
        self.section.writing(tail.clone(), zero);
    }

    /// Reads a range of the store into the memory. Returns how far the store reached.
    fn fill(&self, io: &mut Io, range: Range<u64>) -> Result<u64, Errno> {
        let start = Instant::now();
        let Io { first, writer, pristine, .. } = io;
        let store = writer.as_ref().unwrap_or(first);
        // SAFETY: the library's view covers the content.
        let read = || unsafe { read_range(store, self.section.at(range.start), range.clone()) };
        let read = self.section.writing(range.clone(), read)?;
        if let Some(pristine) = pristine {
            let to = pristine.bytes_mut(range.start as usize, read as usize);
            // SAFETY: as above; `compare` has to know what stands in the store, so it is read once more.
            unsafe { read_range(store, to.as_mut_ptr(), range.start..range.start + read) }?;
        }
        add(&self.counters.bytes_loaded, read);
        add_time(&self.counters.load_ns, start);
        Ok(range.start + read)
    }

    /// Takes over what others changed in the file, in pages that this process has not changed (P24).
    ///
    /// A store that is made meanwhile is never overwritten: a byte is replaced only if it still is what it was
    /// before it was known to be unchanged. `changed` adds the pages changed since, after the bytes were read.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn refresh(&self, range: Range<u64>, changed: &mut dyn FnMut(Found<'_>)) -> Result<(), Errno> {
        const CHUNK: u64 = 1 << 20;
        let mut at = range.start;
        let end = range.end.min(self.len());
        let mut fresh = vec![0u8; CHUNK.min(end.saturating_sub(at)) as usize];
        while at < end {
            let part = at..end.min(at + CHUNK);
            let mut io = self.io.lock();
            // SAFETY: `fresh` is as long as any part.
            let read = unsafe { read_range(io.store(), fresh.as_mut_ptr(), part.clone()) }? as usize;
            let mut before = vec![0u8; read];
            // SAFETY: inside the library's view; bytes that change meanwhile are sorted out by `replace`.
            let copy =
                || unsafe { core::ptr::copy_nonoverlapping(self.section.at(at), before.as_mut_ptr(), read) };
            self.section.reading(self.section.at(at), read, copy);
            if io.pristine.is_none() {
                let mut own = Vec::new();
                changed(&mut |run| own.push(run));
                for run in own {
                    let new = io.marks.set(to_pages(&run));
                    add(&self.counters.pages_changed, new as u64);
                }
            }
            self.section.writing(part.clone(), || self.replace(&mut io, part.start, &before, &fresh[..read]));
            at = part.end;
        }
        Ok(())
    }

    /// Replaces, in unmarked pages from `start` on, each byte that differs in `fresh`, if it is still as in `before`.
    fn replace(&self, io: &mut Io, start: u64, before: &[u8], fresh: &[u8]) {
        let page = os::page_size();
        for (nth, (was, new)) in before.chunks(page).zip(fresh.chunks(page)).enumerate() {
            let at = start + (nth * page) as u64;
            if io.marks.contains((at / page as u64) as usize) {
                continue;
            }
            let stored = io.pristine.as_ref().map(|p| p.get(at as usize, was.len()).to_vec());
            for (i, (a, b)) in was.iter().zip(new).enumerate() {
                if a != b && stored.as_ref().is_none_or(|stored| stored[i] == *a) {
                    // SAFETY: inside the view; an atomic byte, because the program may store into it right now.
                    let byte = unsafe { AtomicU8::from_ptr(self.section.at(at + i as u64)) };
                    let _ = byte.compare_exchange(*a, *b, Ordering::AcqRel, Ordering::Relaxed);
                }
            }
            if let Some(pristine) = &mut io.pristine {
                pristine.set(at as usize, new);
            }
            io.edges.set(at, new);
        }
    }
}
