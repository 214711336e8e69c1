//! Stores: where a file's bytes live. A store never sees an address space, only buffers.

#[cfg(target_os = "linux")]
mod file;
#[cfg(target_os = "linux")]
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

    /// Returns when all that was written is on the storage.
    fn sync(&self) -> Result<(), Errno>;

    /// The first stretch of data at or after `off` and before `end`; what lies between reads zero. A store that
    /// does not know calls everything data.
    fn data(&self, off: u64, end: u64) -> Option<Range<u64>>;
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

/// Writes all, or says how many bytes were written before the error.
///
/// # Safety
/// `buf` must be readable for `len` bytes.
pub(crate) unsafe fn write_all(
    store: &dyn Store,
    buf: *const u8,
    len: usize,
    off: u64,
) -> Result<(), (Errno, usize)> {
    let mut done = 0;
    while done < len {
        // SAFETY: `done < len`, for which the caller vouches.
        match unsafe { store.write_at(buf.add(done), len - done, off + done as u64) } {
            Ok(0) => return Err((Errno::IO, done)),
            Ok(n) => done += n,
            Err(e) => return Err((e, done)),
        }
    }
    Ok(())
}

/// Closes the handles that waited for the program's record locks to go.
#[cfg(target_os = "linux")]
pub(crate) fn close_parked() {
    FileStore::close_parked();
}
