//! From the memory into the store: changed pages → runs → clipped at the end of the file → written.
//!
//! A run is one stretch of memory and one stretch of the file, so that each takes one positioned write. The
//! source is the live memory: whichever of two writes of a page comes last has the newest content.

use super::{Image, Io, to_pages};
use crate::stats::{add, add_time};
use crate::store::Run;
use crate::sys::Errno;
use crate::sys::os;
use crate::sys::os::section::Section;
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

/// What is written of the rest of a page, if it is written: see [`super::edges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rests {
    IfChanged,
    Always,
}

/// What the memory holds of a range inside the image's length. The copy may mix stores that are made meanwhile, each of
/// which is found by the next comparison.
pub(super) fn copied(section: &Section, range: &Range<u64>) -> Vec<u8> {
    let len = (range.end - range.start) as usize;
    let mut now = vec![0u8; len];
    let from = section.at(range.start);
    // SAFETY: inside the library's view, which covers the image's length; `now` is as long.
    section.reading(from, len, || unsafe { core::ptr::copy_nonoverlapping(from, now.as_mut_ptr(), len) });
    now
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
        let result = if dead.is_empty() {
            self.write_pages(&mut io, to_pages(&range), Rests::IfChanged)
        } else {
            // The dead may have asked for more of a page than this process did.
            self.write_pages(&mut io, all, Rests::Always)
        };
        if result.is_ok() {
            dead.into_iter().for_each(|dead| self.section.forget(dead));
        }
        add_time(&self.counters.write_back_ns, start);
        result
    }

    fn write_pages(&self, io: &mut Io, pages: Range<usize>, rests: Rests) -> Result<(), WriteBackError> {
        let fail = |errno, bytes| WriteBackError { errno, file: self.name.clone(), bytes };
        let file_len = io.store().len().map_err(|e| fail(e, 0..self.len()))?;
        let mut runs = self.take_runs(io, &pages, file_len.min(self.len()).min(self.shared_len()));
        let mut first = Ok(());
        if rests == Rests::IfChanged {
            first = self.write_rests(io, &mut runs).map_err(|(errno, bytes)| fail(errno, bytes));
        }
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

    /// Writes the rests of pages, where they changed, and takes them out of the runs. All are tried; the first error
    /// is returned, and what failed stays marked.
    fn write_rests(&self, io: &mut Io, runs: &mut Vec<Run>) -> Result<(), (Errno, Range<u64>)> {
        let mut first = Ok(());
        let mut cut = Vec::with_capacity(runs.len());
        for run in runs.drain(..) {
            let bytes = run.off..run.off + run.len as u64;
            let mut at = bytes.start;
            for rest in io.edges.rests(&bytes) {
                cut.extend(self.run(at..rest.start));
                at = rest.end;
                match self.write_rest(io, &rest) {
                    Ok((runs, bytes)) => {
                        add(&self.counters.runs, runs);
                        add(&self.counters.bytes_written, bytes);
                    }
                    Err(errno) => {
                        io.marks.set(to_pages(&rest));
                        first = first.and(Err((errno, rest)));
                    }
                }
            }
            cut.extend(self.run(at..bytes.end));
        }
        *runs = cut;
        first
    }

    /// A range of the file as a run, if it is not empty.
    fn run(&self, bytes: Range<u64>) -> Option<Run> {
        let len = bytes.end.checked_sub(bytes.start)? as usize;
        let run = || Run { from: self.section.at(bytes.start), len, off: bytes.start, done: 0, error: None };
        (len > 0).then(run)
    }

    /// Writes only the bytes that differ from the stored content, and keeps track of what that now is.
    fn write_differences(&self, io: &mut Io, runs: &mut [Run]) {
        let Io { first, writer, pristine, .. } = io;
        let (store, Some(pristine)) = (writer.as_ref().unwrap_or(first), pristine) else { return };
        for run in runs {
            let now = copied(&self.section, &(run.off..run.off + run.len as u64));
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
            runs.extend(self.run((run.start * page) as u64..((run.end * page) as u64).min(limit)));
        });
        runs
    }
}
