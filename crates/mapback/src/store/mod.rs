//! Stores: where a file's bytes live. A store never sees an address space, only buffers.
//!
//! [`Store`] is the seam; [`FileStore`] (Linux and Windows), [`MemoryStore`] and [`JournalStore`] are what comes with the crate.

#[cfg(any(target_os = "linux", windows))]
#[cfg_attr(windows, path = "handle.rs")]
mod file;
#[cfg(any(target_os = "linux", windows))]
mod file_seam;
mod journal;
mod memory;
mod seam;

#[cfg(any(target_os = "linux", windows))]
pub use file::FileStore;
pub use journal::{JournalError, JournalOptions, JournalStore};
pub use memory::MemoryStore;
pub use seam::{Identity, Stat, Store, Write, read_full, write_full};

#[cfg(any(target_os = "linux", windows))]
use crate::sys::Errno;
#[cfg(any(target_os = "linux", windows))]
use core::ops::Range;

/// What tells whether a file was changed by others since it was last looked at (I7).
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) len: u64,
    /// When the content changed last, in nanoseconds since 1970.
    pub(crate) mtime: i64,
}

#[cfg(target_os = "linux")]
impl Stamp {
    /// That of no file.
    pub(crate) const UNKNOWN: Stamp = Stamp { len: u64::MAX, mtime: i64::MIN };
}

/// One of many runs to write from memory that other threads and processes may store into meanwhile: no reference to
/// it may be made, so that it is no [`Write`].
#[cfg(any(target_os = "linux", windows))]
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) from: *const u8,
    pub(crate) len: usize,
    pub(crate) off: u64,
    /// Bytes that are in the store so far.
    pub(crate) done: usize,
    /// Why the rest is not.
    pub(crate) error: Option<Errno>,
}

#[cfg(any(target_os = "linux", windows))]
impl Run {
    /// Writes what is not yet in the store.
    ///
    /// # Safety
    /// The run's memory must be readable.
    pub(crate) unsafe fn write_rest(&mut self, store: &FileStore) {
        self.error = None;
        while self.done < self.len && self.error.is_none() {
            let at = self.off + self.done as u64;
            // SAFETY: `done < len`, for which the caller vouches.
            match unsafe { store.write_raw(self.from.add(self.done), self.len - self.done, at) } {
                Ok(0) => self.error = Some(Errno::IO),
                Ok(n) => self.done += n,
                Err(errno) => self.error = Some(errno),
            }
        }
    }
}

/// Reads a whole range; what lies past the store's end is left as it is. Returns the bytes read.
///
/// # Safety
/// `buf` must be writable for the length of `range`.
#[cfg(any(target_os = "linux", windows))]
pub(crate) unsafe fn read_range(store: &FileStore, buf: *mut u8, range: Range<u64>) -> Result<u64, Errno> {
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(READ_SIZE) as usize;
        // SAFETY: `at` is inside the range, for which the caller vouches.
        match unsafe { store.read_raw(buf.add((at - range.start) as usize), len, at) }? {
            0 => break,
            n => at += n as u64,
        }
    }
    Ok(at - range.start)
}

/// Large enough that calls cost nothing, small enough to stay interruptible.
#[cfg(any(target_os = "linux", windows))]
const READ_SIZE: u64 = 8 << 20;

/// Closes the handles that waited for the program's record locks to go.
#[cfg(target_os = "linux")]
pub(crate) fn close_parked() {
    FileStore::close_parked();
}

/// Takes the lock of the handles that wait over a fork.
#[cfg(target_os = "linux")]
pub(crate) fn before_fork() {
    file::before_fork();
}

/// Ends [`before_fork`], on each side.
///
/// # Safety
/// This thread, or the one that it was forked from, must have called `before_fork`.
#[cfg(target_os = "linux")]
pub(crate) unsafe fn after_fork() {
    // SAFETY: passed on.
    unsafe { file::after_fork() };
}
