//! From the store into the memory: loading, growing and shrinking, taking over what others wrote.

use super::{Image, Io, to_pages};
use crate::page;
use crate::stats::{add, add_time};
use crate::store::{Store, read_range};
use crate::sys::Errno;
use crate::sys::os;
use crate::track::Pristine;
use core::ops::Range;
use core::sync::atomic::Ordering;
use std::time::Instant;

impl Image {
    /// Loads the content, unless that was done. Whoever comes second waits for the first.
    ///
    /// # Errors
    /// Those of reading the file; `ENOMEM`.
    pub(crate) fn load(&self) -> Result<(), Errno> {
        let mut io = self.io.lock();
        if io.loaded {
            return Ok(());
        }
        let len = io.store().len()?;
        self.set_len(&mut io, 0, len)?;
        let read = self.read_data(&mut io, 0..len)?;
        if read < len {
            // The file became shorter while it was read.
            self.set_len(&mut io, len, read)?;
        }
        io.loaded = true;
        Ok(())
    }

    /// Makes the pristine copy, if changes are found by comparing and there is none yet. No map of the file is writable
    /// before, so that the memory is still as it was read. Called under the space's lock.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn begin_comparing(&self) -> Result<(), Errno> {
        let mut io = self.io.lock();
        if !self.compare || io.pristine.is_some() {
            return Ok(());
        }
        let mut pristine = Pristine::default();
        pristine.resize(usize::try_from(self.len()).map_err(|_| Errno::NOMEM)?)?;
        let mut at = 0;
        while let Some(data) = self.shm.data(at, self.len()) {
            let len = (data.end - data.start) as usize;
            let to = pristine.bytes_mut(data.start as usize, len);
            // SAFETY: inside the window, which covers the image's length; nobody stores into the memory yet.
            unsafe { core::ptr::copy_nonoverlapping(io.window.at(data.start), to.as_mut_ptr(), len) };
            at = data.end;
        }
        io.pristine = Some(pristine);
        Ok(())
    }

    /// Follows the file to a new length: what is cut off is gone, what is new is read from the store.
    /// The caller arms maps that reach into a new part before, and holds the space's lock.
    ///
    /// # Errors
    /// Those of reading; `ENOMEM`.
    pub(crate) fn resize(&self, len: u64) -> Result<(), Errno> {
        let mut io = self.io.lock();
        // A relative may have changed the memory's length, and stored into what is new to us.
        let (known, old) = (self.len(), self.shared_len());
        self.set_len(&mut io, old, len)?;
        if len > old {
            self.read_data(&mut io, old..len)?;
        }
        if old.min(len) > known {
            io.marks.set(to_pages(&(known..old.min(len))));
        }
        Ok(())
    }

    /// Sets the length of the memory and all that follows it.
    fn set_len(&self, io: &mut Io, old: u64, len: u64) -> Result<(), Errno> {
        let known = self.len();
        io.window.cover(&self.shm, len)?;
        if len > old {
            self.zero_tail(io, old);
        }
        if let Some(pristine) = &mut io.pristine {
            pristine.resize(usize::try_from(len).map_err(|_| Errno::NOMEM)?)?;
            if len < old {
                pristine.zero_from(len as usize);
            }
        }
        self.shm.resize(len)?;
        self.len.store(len, Ordering::Release);
        let end = page::ceil64(len, os::page_size());
        if end < old.max(known) {
            io.marks.clear(to_pages(&(end..old.max(known))));
        }
        Ok(())
    }

    /// What was stored past the end of the file is no part of it, and must not show when it grows (P11).
    fn zero_tail(&self, io: &Io, old: u64) {
        let tail = old..page::ceil64(old, os::page_size());
        if old == 0 || tail.is_empty() {
            return;
        }
        // SAFETY: the last page of the object is there, and inside the window; other threads may store into the
        // same bytes through their maps, which the kernel's own truncation would race with just so.
        unsafe { core::ptr::write_bytes(io.window.at(old), 0, (tail.end - tail.start) as usize) };
    }

    /// Reads the stretches of data of a range; holes stay untouched. Returns how far the store reached.
    fn read_data(&self, io: &mut Io, range: Range<u64>) -> Result<u64, Errno> {
        let start = Instant::now();
        let mut at = range.start;
        let mut reached = range.end;
        while let Some(data) = io.store().data(at, range.end) {
            let read = fill(io, data.clone()).map_err(no_memory)?;
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

    /// Takes over bytes that were just written to the file by this process; the caller wrote back what had been
    /// changed before, and holds the space's lock.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn take_over(&self, range: Range<u64>) -> Result<(), Errno> {
        let mut io = self.io.lock();
        let range = range.start..range.end.min(self.len());
        if range.is_empty() {
            return Ok(());
        }
        fill(&mut io, range).map(drop)
    }

    /// Punches a hole into the file and the memory, as `MADV_REMOVE` does.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system has no holes.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        let mut io = self.io.lock();
        io.store().punch(range.clone())?;
        self.shm.punch(range.clone())?;
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
            let read = unsafe { read_range(io.store(), fresh.as_mut_ptr(), part.clone()) }?;
            let before = snapshot(io.window.at(part.start), read as usize);
            // Pages changed up to here must keep their content; `compare` knows of each byte.
            let mut own = Vec::new();
            if io.pristine.is_none() || self.is_forked() {
                changed(&mut |run| own.push(run));
            }
            for run in own {
                let new = io.marks.set(to_pages(&run));
                add(&self.counters.pages_changed, new as u64);
            }
            let exact = !self.is_forked();
            replace(&mut io, part.start, &before, &fresh[..read as usize], exact);
            at = part.end;
        }
        Ok(())
    }
}

/// Receives ranges of bytes.
pub(crate) type Found<'a> = &'a mut dyn FnMut(Range<u64>);

/// Reads a range of the store into the memory. Returns the bytes read.
fn fill(io: &mut Io, range: Range<u64>) -> Result<u64, Errno> {
    let Io { window, first, writer, pristine, .. } = io;
    let store = writer.as_ref().unwrap_or(first);
    let Some(pristine) = pristine else {
        // SAFETY: the window covers the image's length, which the range is inside of.
        return unsafe { read_range(store, window.at(range.start), range) };
    };
    // `compare` has to know what stands in the store, not what a thread stored into the memory meanwhile: the store is
    // read into the pristine copy first.
    let (at, len) = (range.start as usize, (range.end - range.start) as usize);
    let to = pristine.bytes_mut(at, len);
    // SAFETY: `to` is as long as the range.
    let read = unsafe { read_range(store, to.as_mut_ptr(), range.clone()) }?;
    // SAFETY: inside the window; a plain copy, as the kernel's own read into shared memory is.
    unsafe { core::ptr::copy_nonoverlapping(to.as_ptr(), window.at(range.start), read as usize) };
    Ok(read)
}

/// A read that fails with `EFAULT` could not get a page of the object.
fn no_memory(errno: Errno) -> Errno {
    if errno == Errno::FAULT { Errno::NOMEM } else { errno }
}

/// A copy of live memory, whole words at a time.
fn snapshot(from: *mut u8, len: usize) -> Vec<u8> {
    let mut copy = vec![0u8; len];
    // SAFETY: inside the window (the caller's range); bytes that change meanwhile are sorted out by `replace`.
    unsafe { core::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), len) };
    copy
}

/// Replaces, in unmarked pages from `start` on, each byte that differs in `fresh`, if it is still as in `before`.
/// `exact`: the pristine copy, if there is one, tells which bytes are this process's own changes.
fn replace(io: &mut Io, start: u64, before: &[u8], fresh: &[u8], exact: bool) {
    use core::sync::atomic::AtomicU8;
    let page = os::page_size();
    for (nth, (was, new)) in before.chunks(page).zip(fresh.chunks(page)).enumerate() {
        let at = start + (nth * page) as u64;
        if io.marks.contains((at / page as u64) as usize) {
            continue;
        }
        let stored = io.pristine.as_ref().filter(|_| exact).map(|p| p.get(at as usize, was.len()).to_vec());
        for (i, (a, b)) in was.iter().zip(new).enumerate() {
            if a != b && stored.as_ref().is_none_or(|stored| stored[i] == *a) {
                // SAFETY: inside the window; an atomic byte, because the program may store into it right now.
                let byte = unsafe { AtomicU8::from_ptr(io.window.at(at + i as u64)) };
                let _ = byte.compare_exchange(*a, *b, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        if let Some(pristine) = &mut io.pristine {
            pristine.set(at as usize, new);
        }
    }
}
