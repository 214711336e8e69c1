//! From the memory into the store: changed pages → runs → clipped at the end of the file → written.
//!
//! A run is one stretch of memory and one stretch of the file, so that each takes one positioned write. The
//! source is the live memory: whichever of two writes of a page comes last has the newest content.

use super::{Image, Io, to_pages};
use crate::stats::{add, add_time};
use crate::store::Run;
use crate::sys::Errno;
use crate::sys::os;
use core::fmt;
use core::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

/// The longest run, in bytes: a bound on the copy that `compare` makes.
const MOST: usize = 16 << 20;

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
        let (start, end) = (self.bytes.start, self.bytes.end);
        write!(
            f,
            "cannot write bytes {start:#x}..{end:#x} of {} back: {}. ",
            self.file.display(),
            self.errno
        )?;
        f.write_str(match self.errno {
            Errno::NOSPC => "Free some space; the changes are kept while the program runs.",
            Errno::ACCESS => {
                "Has another program locked the file? The changes are kept while the program runs."
            }
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
    pub(crate) fn write_back(&self, range: Range<u64>, _next: Next) -> Result<(), WriteBackError> {
        let mut io = self.io.lock();
        let dead = self.inherit(&mut io);
        if io.marks.is_empty() {
            dead.into_iter().for_each(|dead| self.section.forget(dead));
            return Ok(());
        }
        let start = Instant::now();
        let all = 0..usize::MAX;
        let result = self.write_pages(&mut io, if dead.is_empty() { to_pages(&range) } else { all });
        if result.is_ok() {
            dead.into_iter().for_each(|dead| self.section.forget(dead));
        }
        add_time(&self.counters.write_back_ns, start);
        result
    }

    fn write_pages(&self, io: &mut Io, pages: Range<usize>) -> Result<(), WriteBackError> {
        let fail = |errno, bytes| WriteBackError { errno, file: self.name.clone(), bytes };
        let file_len = io.store().len().map_err(|e| fail(e, 0..self.len()))?;
        let mut runs = self.take_runs(io, &pages, file_len.min(self.len()).min(self.shared_len()));
        if io.pristine.is_some() {
            self.write_differences(io, &mut runs);
        } else {
            for run in &mut runs {
                // SAFETY: the runs are inside the library's view, which covers the image's length.
                self.section.reading(run.from, run.len, || unsafe { run.write_rest(io.store()) });
            }
            add(&self.counters.runs, runs.len() as u64);
            add(&self.counters.bytes_written, runs.iter().map(|run| run.done as u64).sum());
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

    /// Writes only the bytes that differ from the stored content, and keeps track of what that now is.
    fn write_differences(&self, io: &mut Io, runs: &mut [Run]) {
        let Io { first, writer, pristine, .. } = io;
        let (store, Some(pristine)) = (writer.as_ref().unwrap_or(first), pristine) else { return };
        for run in runs {
            let mut now = vec![0u8; run.len];
            // SAFETY: inside the view; the copy may mix stores that are made meanwhile, each of which is found by the
            // next comparison.
            unsafe { core::ptr::copy_nonoverlapping(run.from, now.as_mut_ptr(), run.len) };
            let base = run.off as usize;
            let mut parts = Vec::new();
            pristine.differences(base, &now, &mut |part| parts.push(part));
            run.done = run.len;
            for part in parts {
                let bytes = &now[part.start - base..part.end - base];
                let (from, len, off) = (bytes.as_ptr(), bytes.len(), part.start as u64);
                let mut small = Run { from, len, off, done: 0, error: None };
                // SAFETY: a slice.
                unsafe { small.write_rest(store) };
                pristine.set(part.start, &bytes[..small.done]);
                add(&self.counters.runs, 1);
                add(&self.counters.bytes_written, small.done as u64);
                if let Some(errno) = small.error {
                    run.error = Some(errno);
                    run.done = part.start + small.done - base;
                    break;
                }
            }
        }
    }

    /// Takes the marked runs of a range, clipped to the end of the file: what lies past it is no part of it any more
    /// (I3).
    fn take_runs(&self, io: &mut Io, pages: &Range<usize>, limit: u64) -> Vec<Run> {
        let page = os::page_size();
        let mut runs = Vec::new();
        io.marks.take_runs(pages, MOST / page, |run| {
            let (start, end) = ((run.start * page) as u64, ((run.end * page) as u64).min(limit));
            if start < end {
                let (from, len) = (self.section.at(start), (end - start) as usize);
                runs.push(Run { from, len, off: start, done: 0, error: None });
            }
        });
        runs
    }
}
