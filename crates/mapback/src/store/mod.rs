//! Stores: where a file's bytes live. A store never sees an address space, only buffers.

#[cfg_attr(windows, path = "handle.rs")]
mod file;
pub(crate) use file::FileStore;

use crate::sys::Errno;
use core::ops::Range;

/// What an image needs of the place where its content lives. Offsets and lengths are bytes.
///
/// Buffers are raw because the memory of an image is shared with the program, which may store into it at any
/// moment; a reference would claim that it does not.
pub(crate) trait Store: Send {
    /// The length now.
    fn len(&self) -> Result<u64, Errno>;

    /// Reads up to `len` bytes; 0 at the end. A short read is no error.
    ///
    /// # Safety
    /// `buf` must be writable for `len` bytes.
    unsafe fn read_at(&self, buf: *mut u8, len: usize, off: u64) -> Result<usize, Errno>;

    /// Writes up to `len` bytes and says how many. The caller keeps inside the store's length.
    ///
    /// # Safety
    /// `buf` must be readable for `len` bytes.
    unsafe fn write_at(&self, buf: *const u8, len: usize, off: u64) -> Result<usize, Errno>;

    /// Writes many runs, each of which gets its own outcome. They will be synced next: a store may choose a way
    /// that suits that.
    ///
    /// # Safety
    /// Each run's memory must be readable.
    unsafe fn write_many(&self, runs: &mut [Run]) {
        for run in runs {
            // SAFETY: the caller's word.
            unsafe { run.write_rest(self) };
        }
    }

    /// Returns when all that was written is on the storage.
    fn sync(&self) -> Result<(), Errno>;

    /// The first stretch of data at or after `off` and before `end`; what lies between reads zero. A store that
    /// does not know calls everything data.
    fn data(&self, off: u64, end: u64) -> Option<Range<u64>>;
}

/// One of many runs to write.
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

impl Run {
    /// Writes what is not yet in the store.
    ///
    /// # Safety
    /// The run's memory must be readable.
    pub(crate) unsafe fn write_rest<S: Store + ?Sized>(&mut self, store: &S) {
        self.error = None;
        while self.done < self.len && self.error.is_none() {
            let at = self.off + self.done as u64;
            // SAFETY: `done < len`, for which the caller vouches.
            match unsafe { store.write_at(self.from.add(self.done), self.len - self.done, at) } {
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
pub(crate) unsafe fn read_range(store: &dyn Store, buf: *mut u8, range: Range<u64>) -> Result<u64, Errno> {
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(READ_SIZE) as usize;
        // SAFETY: `at` is inside the range, for which the caller vouches.
        match unsafe { store.read_at(buf.add((at - range.start) as usize), len, at) }? {
            0 => break,
            n => at += n as u64,
        }
    }
    Ok(at - range.start)
}

/// Large enough that calls cost nothing, small enough to stay interruptible.
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
