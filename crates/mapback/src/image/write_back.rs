//! From the memory into the store: changed pages → runs → clipped at the end of the file → written.
//!
//! A run is one stretch of memory and one stretch of the file, so that each takes one positioned write. The
//! source is the live memory: whichever of two writes of a page comes last has the newest content.

use super::{Control, Image, Io, Partial, to_pages};
use crate::stats::{add, add_time};
use crate::store::{FileStore, Run};
use crate::sys::Errno;
use crate::sys::os::{self, file::with_file_size};
use core::fmt;
use core::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

/// The longest run, in bytes.
const MOST: usize = 16 << 20;

/// How many bytes `compare` copies at a time: whole pages, and few enough to stay in a cache beside what they are compared
/// with.
const COPIED: usize = 256 << 10;

/// A run that could not be written. Its pages stay marked and will be tried again.
#[derive(Clone, Debug)]
pub(crate) struct WriteBackError {
    pub(crate) errno: Errno,
    pub(crate) file: PathBuf,
    /// File offsets of the first run that failed.
    pub(crate) bytes: Range<u64>,
}

impl fmt::Display for WriteBackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WriteBackError { errno, file, bytes } = self;
        write!(
            f,
            "cannot write bytes {:#x}..{:#x} of {} back: {errno}. ",
            bytes.start,
            bytes.end,
            file.display()
        )?;
        f.write_str(match *errno {
            Errno::NOSPC | Errno::DQUOT => "Free some space; the changes are kept while the program runs.",
            _ => "The changes are kept while the program runs, and tried again.",
        })
    }
}

/// What the caller does once the content is written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It syncs the store.
    Sync,
    /// Nothing: the content is in the system's hands.
    Nothing,
}

impl Image {
    /// Writes the marked pages of a range of the file. All runs are tried; the first error is returned, and what
    /// failed stays marked (I1).
    ///
    /// # Errors
    /// The first run that failed.
    pub(crate) fn write_back(&self, range: Range<u64>, next: Next) -> Result<(), WriteBackError> {
        if self.io.lock().marks.is_empty() {
            return Ok(());
        }
        let Some(mut io) = self.lock_current() else {
            // Whoever was the last to go wrote everything back, and the file may be newer than the memory since.
            self.io.lock().marks = super::Marks::default();
            return Ok(());
        };
        let start = Instant::now();
        if self.compare && self.is_shared() {
            self.narrow_down(&mut io, &to_pages(&range));
        }
        let result = self.write_pages(&mut io, to_pages(&range), next);
        add_time(&self.counters.write_back_ns, start);
        result
    }

    /// As [`Image::write_back`], under the lock.
    pub(super) fn write_pages(
        &self,
        io: &mut Io,
        pages: Range<usize>,
        next: Next,
    ) -> Result<(), WriteBackError> {
        io.begin_changing(true);
        let done = self.write_marked(io, pages, next);
        io.end_changing();
        done
    }

    fn write_marked(&self, io: &mut Io, pages: Range<usize>, next: Next) -> Result<(), WriteBackError> {
        let fail = |errno, bytes| WriteBackError { errno, file: self.name.clone(), bytes };
        let whole = 0..self.len();
        let file_len = io.store().len().map_err(|e| fail(e, whole))?;
        let mut runs = take_runs(io, &pages, file_len.min(self.len()));
        let end = runs.last().map_or(0, |run| run.off + run.len as u64);
        let lifted = with_file_size(end, || {
            // A relative writes too, and what it wrote is not in our pristine copy: only whole pages are sure then.
            if io.pristine.is_some() && !self.is_shared() {
                self.write_differences(io, &mut runs);
            } else {
                self.write_runs(io, &mut runs, next);
            }
            Ok(())
        });
        if let Err(errno) = lifted {
            runs.iter_mut().for_each(|run| run.error = Some(errno));
        }
        let mut first = Ok(());
        for run in runs {
            io.unsynced.set(to_pages(&(run.off..run.off + run.done as u64)));
            if let Some(errno) = run.error {
                let left = run.off + run.done as u64..run.off + run.len as u64;
                io.marks.set(to_pages(&left));
                first = first.and(Err(fail(errno, left)));
            }
        }
        first
    }

    fn write_runs(&self, io: &Io, runs: &mut [Run], next: Next) {
        match next {
            // Past the page cache two writers are serial only if a lock makes them so.
            // SAFETY: the runs are inside the window, which covers the image's length.
            Next::Sync if io.control.is_some() || !self.is_shared() => unsafe {
                io.store().write_many(io.control.as_ref().map(Control::lock_file), runs)
            },
            _ => runs.iter_mut().for_each(|run| {
                // SAFETY: as above.
                unsafe { run.write_rest(io.store()) }
            }),
        }
        add(&self.counters.runs, runs.len() as u64);
        add(&self.counters.bytes_written, runs.iter().map(|run| run.done as u64).sum());
    }

    /// Writes only the bytes that differ from the stored content, and keeps track of what that now is.
    fn write_differences(&self, io: &mut Io, runs: &mut [Run]) {
        let Io { first, writer, pristine, .. } = io;
        let (store, Some(pristine)) = (writer.as_ref().unwrap_or(first), pristine) else { return };
        let mut now = Vec::new();
        for run in runs {
            while run.done < run.len && run.error.is_none() {
                let len = (run.len - run.done).min(COPIED);
                let at = run.off as usize + run.done;
                now.resize(len, 0);
                // The copy may mix stores that are made meanwhile, each of which is noted anew, because pages are re-armed
                // before they are copied (I2).
                let copied = self.shm.read_exact(&mut now, at as u64).map_err(|errno| (errno, 0));
                match copied.and_then(|()| self.write_differing(store, pristine, at, &now)) {
                    Ok(()) => run.done += len,
                    Err((errno, done)) => {
                        run.done += done;
                        run.error = Some(errno);
                    }
                }
            }
        }
    }

    /// Writes those of the bytes `now`, which stand at `at`, that differ. On an error: how many bytes are known to be in
    /// the store.
    fn write_differing(
        &self,
        store: &FileStore,
        pristine: &mut Partial,
        at: usize,
        now: &[u8],
    ) -> Result<(), (Errno, usize)> {
        let mut parts = Vec::new();
        pristine.differences(at, now, &mut |part| parts.push(part));
        for part in parts {
            let bytes = &now[part.start - at..part.end - at];
            let (from, len, off) = (bytes.as_ptr(), bytes.len(), part.start as u64);
            let mut small = Run { from, len, off, done: 0, error: None };
            // SAFETY: a slice.
            unsafe { small.write_rest(store) };
            pristine.set(part.start, &bytes[..small.done]);
            add(&self.counters.runs, 1);
            add(&self.counters.bytes_written, small.done as u64);
            if let Some(errno) = small.error {
                return Err((errno, part.start + small.done - at));
            }
        }
        Ok(())
    }
}

/// Takes the marked runs of a range, clipped to the end of the file: what lies past it is no part of it any more (I3).
fn take_runs(io: &mut Io, pages: &Range<usize>, limit: u64) -> Vec<Run> {
    let page = os::page_size();
    let mut runs = Vec::new();
    let Io { marks, window, .. } = io;
    marks.take_runs(pages, MOST / page, |run| {
        let (start, end) = ((run.start * page) as u64, ((run.end * page) as u64).min(limit));
        if start < end {
            let (from, len) = (window.at(start), (end - start) as usize);
            runs.push(Run { from, len, off: start, done: 0, error: None });
        }
    });
    runs
}
