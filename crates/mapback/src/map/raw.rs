//! Maps that are reached by raw pointers.

use super::advice::advice_methods;
use super::handle::Handle;
use super::{MmapOptions, RemapOptions, Source};
use crate::image::working::Depth;
use std::fmt;
use std::io;

/// A map that is reached by raw pointers, and may be stored to from several threads at once.
///
/// It makes no references to the bytes: whoever loads and stores through [`as_mut_ptr`](MmapRaw::as_mut_ptr) has to keep
/// the rules of the language by locks, atomics or volatile access. The memory is this process's alone, as that of all
/// maps of this crate: another process that maps the file does not see it.
///
/// A flush may run while other threads store. What it writes of such a page may be a mixture of old and new bytes, but
/// the store is noted, and the page is written again by the next flush. [`flush_atomic`](MmapRaw::flush_atomic) commits
/// what a single copy of each page found, so that what the checksums vouch for is what is replayed; to commit what a
/// program takes for a consistent state, it has to keep its own threads from storing meanwhile.
///
/// # Examples
///
/// A thread of its own flushes what others store. (Atomics need no raw pointer where the map is a
/// [`MmapShared`](crate::MmapShared).)
///
/// ```
/// use mapback::{MmapMut, MmapRaw};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("data");
/// # std::fs::write(&path, [0; 4])?;
/// # let file = std::fs::File::options().read(true).write(true).open(&path)?;
/// let mut map = MmapMut::map_mut(&file)?;
/// map.fill(4);
/// let map = MmapRaw::from(map);
/// std::thread::scope(|scope| scope.spawn(|| map.flush()).join().unwrap())?;
/// assert_eq!(std::fs::read(&path)?, [4; 4]);
/// # std::io::Result::Ok(())
/// ```
pub struct MmapRaw {
    handle: Handle,
}

impl MmapRaw {
    pub(super) fn of(handle: Handle) -> MmapRaw {
        handle.working.set_live();
        MmapRaw { handle }
    }

    /// Maps a whole file to be read and written.
    ///
    /// # Errors
    /// See [`MmapOptions::map_mut`].
    pub fn map_raw(file: impl Source) -> io::Result<MmapRaw> {
        MmapOptions::new().map_raw(file)
    }

    /// Where the bytes are. The pointer is good until the map is dropped or [remapped](MmapRaw::remap).
    pub fn as_ptr(&self) -> *const u8 {
        self.handle.ptr()
    }

    /// Where the bytes are, to be stored to. Storing to a map that was made read-only is a fault.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.handle.ptr()
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.handle.len()
    }

    /// Whether the map has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As [`MmapMut::flush`](crate::MmapMut::flush).
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self) -> io::Result<()> {
        self.handle.flush_all(Depth::Synced)
    }

    /// As [`MmapMut::flush_async`](crate::MmapMut::flush_async).
    ///
    /// # Errors
    /// As there.
    pub fn flush_async(&self) -> io::Result<()> {
        self.handle.flush_all(Depth::Written)
    }

    /// As [`MmapMut::flush_range`](crate::MmapMut::flush_range).
    ///
    /// # Errors
    /// As there.
    pub fn flush_range(&self, offset: usize, len: usize) -> io::Result<()> {
        self.handle.flush(offset, len, Depth::Synced)
    }

    /// As [`MmapMut::flush_async_range`](crate::MmapMut::flush_async_range).
    ///
    /// # Errors
    /// As there.
    pub fn flush_async_range(&self, offset: usize, len: usize) -> io::Result<()> {
        self.handle.flush(offset, len, Depth::Written)
    }

    /// As [`MmapMut::flush_atomic`](crate::MmapMut::flush_atomic), with one copy of each page as its image.
    ///
    /// # Errors
    /// As there.
    pub fn flush_atomic(&self) -> io::Result<()> {
        self.handle.flush_all(Depth::Atomic)
    }

    /// As [`MmapMut::close`](crate::MmapMut::close).
    ///
    /// # Errors
    /// As there.
    pub fn close(self) -> io::Result<()> {
        self.handle.close()
    }

    /// As [`MmapMut::remap`](crate::MmapMut::remap). Pointers from before are void.
    ///
    /// # Safety
    /// Nobody may use a pointer into the map from before.
    ///
    /// # Errors
    /// As there.
    pub unsafe fn remap(&mut self, new_len: usize, options: RemapOptions) -> io::Result<()> {
        self.handle.remap(new_len, options.may_move)
    }

    advice_methods!();
}

impl fmt::Debug for MmapRaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmapRaw").field("ptr", &self.as_ptr()).field("len", &self.len()).finish()
    }
}
