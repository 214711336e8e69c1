//! From the memory into the store: changed pages → runs → clipped at the end of the file → written.
//!
//! A run is one stretch of memory and one stretch of the file, so that each takes one positioned write. The
//! source is the live memory: whichever of two writes of a page comes last has the newest content.

use super::{Image, Io, to_pages};
use crate::stats::{add, add_time};
use crate::store::{Store, write_all};
use crate::sys::Errno;
use crate::sys::os;
use crate::track::Pristine;
use core::fmt;
use core::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

/// The longest run written in one go, in bytes.
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

impl Image {
    /// Writes the marked pages of a range of the file. All runs are tried; the first error is returned, and what
    /// failed stays marked (I1).
    ///
    /// # Errors
    /// The first run that failed.
    pub(crate) fn write_back(&self, range: Range<u64>) -> Result<(), WriteBackError> {
        let mut io = self.io.lock();
        if io.marks.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let result = self.write_runs(&mut io, to_pages(&range));
        add_time(&self.counters.write_back_ns, start);
        result
    }

    fn write_runs(&self, io: &mut Io, pages: Range<usize>) -> Result<(), WriteBackError> {
        let page = os::page_size();
        let fail = |errno, bytes| WriteBackError { errno, file: self.name.clone(), bytes };
        let whole = 0..self.len();
        let file_len = io.store().len().map_err(|e| fail(e, whole.clone()))?;
        let limit = file_len.min(self.len());
        let mut first = Ok(());
        let mut retry = Vec::new();
        while let Some(run) = io.marks.take_run(&pages, MOST / page) {
            let bytes = (run.start * page) as u64..((run.end * page) as u64).min(limit);
            if bytes.start >= bytes.end {
                continue; // Past the end of the file: not part of it any more (I3).
            }
            if let Err((errno, done)) = self.write_run(io, bytes.clone()) {
                let from = run.start + done / page;
                retry.push(from..run.end);
                first = first.and(Err(fail(errno, bytes.start + done as u64..bytes.end)));
            }
        }
        for run in retry {
            io.marks.set(run);
        }
        first
    }

    /// Writes one run; on error says how many of its bytes are in the store.
    fn write_run(&self, io: &mut Io, bytes: Range<u64>) -> Result<(), (Errno, usize)> {
        let Io { window, first, writer, pristine, .. } = io;
        let store = writer.as_ref().unwrap_or(first);
        let from = window.at(bytes.start);
        let len = (bytes.end - bytes.start) as usize;
        if let Some(pristine) = pristine {
            // SAFETY: inside the window; the copy may mix stores that are made meanwhile, each of which is noted
            // anew, because pages are re-armed before they are copied (I2).
            let copy = unsafe { copy_of(from, len) };
            return self.write_differences(store, pristine, bytes.start, &copy);
        }
        // SAFETY: inside the window, which covers the image's length.
        unsafe { write_all(store, from, len, bytes.start) }?;
        self.count(len);
        Ok(())
    }

    /// Writes only the bytes that differ from the stored content, and keeps track of what that now is.
    fn write_differences(
        &self,
        store: &dyn Store,
        pristine: &mut Pristine,
        start: u64,
        now: &[u8],
    ) -> Result<(), (Errno, usize)> {
        let base = start as usize;
        let mut runs = Vec::new();
        pristine.differences(base, now, &mut |run| runs.push(run));
        for run in runs {
            let bytes = &now[run.start - base..run.end - base];
            // SAFETY: a slice.
            unsafe { write_all(store, bytes.as_ptr(), bytes.len(), run.start as u64) }
                .map_err(|(errno, done)| (errno, run.start + done - base))?;
            pristine.set(run.start, bytes);
            self.count(bytes.len());
        }
        Ok(())
    }

    fn count(&self, bytes: usize) {
        add(&self.counters.runs, 1);
        add(&self.counters.bytes_written, bytes as u64);
    }
}

/// # Safety
/// `from` must be readable for `len` bytes.
unsafe fn copy_of(from: *const u8, len: usize) -> Vec<u8> {
    let mut copy = Vec::with_capacity(len);
    // SAFETY: readable by the caller's word, and the vector has the room.
    unsafe {
        core::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), len);
        copy.set_len(len);
    }
    copy
}
