//! Maps to be written.

use super::advice::advice_methods;
use super::handle::Handle;
use super::{Mmap, MmapOptions, MmapRaw, RemapOptions, Snapshot, Source};
use crate::image::working::Depth;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

/// A file's content as a `&mut [u8]`, written back by [`flush`](MmapMut::flush) and when it is dropped.
///
/// The memory belongs to this process alone, and to this map: two maps of one file do not show each other's stores. What
/// keeps them, and other programs, from trampling each other is [`OnConflict`](crate::OnConflict).
///
/// Dropping writes changes back as `munmap` does, without a sync. What cannot be written then is told to
/// [`tracing`](https://docs.rs/tracing) and lost; [`close`](MmapMut::close) returns it instead. The file never gets longer
/// or shorter. A process that is killed loses what was not flushed.
///
/// # Examples
///
/// ```
/// use mapback::MmapMut;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("data");
/// # std::fs::write(&path, "hello")?;
/// let file = std::fs::File::options().read(true).write(true).open(&path)?;
/// let mut map = MmapMut::map_mut(&file)?;
/// map[0] = b'H';
/// map.flush()?;
/// assert_eq!(std::fs::read(&path)?, b"Hello");
/// # std::io::Result::Ok(())
/// ```
pub struct MmapMut {
    pub(super) handle: Handle,
}

impl MmapMut {
    /// Maps a whole file to be read and written. [`MmapOptions`] has more.
    ///
    /// # Errors
    /// See [`MmapOptions::map_mut`].
    pub fn map_mut(file: impl Source) -> io::Result<MmapMut> {
        MmapOptions::new().map_mut(file)
    }

    /// Makes a map of `length` zero bytes that has no file.
    ///
    /// # Errors
    /// `ENOMEM`.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut map = mapback::MmapMut::map_anon(100)?;
    /// map[99] = 1;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn map_anon(length: usize) -> io::Result<MmapMut> {
        MmapOptions::new().len(length).map_anon()
    }

    /// Writes what was changed to the file and returns when it is on the storage.
    ///
    /// # Errors
    /// What failed stays changed, and the next flush tries again. [`Error`](crate::Error) has the file and the bytes:
    /// a conflict (nothing was written), or what the file system said, like `StorageFull`.
    pub fn flush(&self) -> io::Result<()> {
        self.handle.flush_all(Depth::Synced)
    }

    /// As [`flush`](MmapMut::flush), without waiting for the storage: what was changed is in the system's hands.
    ///
    /// # Errors
    /// As [`flush`](MmapMut::flush).
    pub fn flush_async(&self) -> io::Result<()> {
        self.handle.flush_all(Depth::Written)
    }

    /// As [`flush`](MmapMut::flush), for `len` bytes from `offset` on, widened to pages.
    ///
    /// # Errors
    /// As [`flush`](MmapMut::flush); `InvalidInput` for a range that is not inside the map.
    pub fn flush_range(&self, offset: usize, len: usize) -> io::Result<()> {
        self.handle.flush(offset, len, Depth::Synced)
    }

    /// As [`flush_range`](MmapMut::flush_range), without waiting for the storage.
    ///
    /// # Errors
    /// As [`flush_range`](MmapMut::flush_range).
    pub fn flush_async_range(&self, offset: usize, len: usize) -> io::Result<()> {
        self.handle.flush(offset, len, Depth::Written)
    }

    /// Commits what was changed: after a crash at any moment the file has all of the changes since the last
    /// `flush_atomic`, or none.
    ///
    /// The changes go to a journal next to the file (or where [`MmapOptions::journal`] says), with one sync. They get into
    /// the file itself later: when the journal is full, at the next plain flush, and when the last map of the file in
    /// this process ends. Until then other readers of the file see it as it was. After a crash the journal is replayed by
    /// whoever maps the file next through mapback; a program that does not use mapback has to be kept from it until then.
    ///
    /// A map that was committed once is committed when it is dropped, too. The file must not be renamed without its
    /// journal.
    ///
    /// # Errors
    /// As [`flush`](MmapMut::flush): nothing is committed then. [`Error::Journal`](crate::Error::Journal) if there can be
    /// no journal.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("accounts");
    /// # std::fs::write(&path, vec![100; 16384])?;
    /// let mut accounts = mapback::MmapMut::map_mut(std::fs::File::options().read(true).write(true).open(&path)?)?;
    /// accounts[0] -= 10;
    /// accounts[9000] += 10;
    /// accounts.flush_atomic()?; // both or neither
    /// # std::io::Result::Ok(())
    /// ```
    pub fn flush_atomic(&self) -> io::Result<()> {
        self.handle.flush_all(Depth::Atomic)
    }

    /// What the map holds now, as a view that stays as it is whatever is stored to the map later.
    ///
    /// The first snapshot of a map copies the content once. Later ones share that memory and copy the pages that were
    /// changed since; once that is more than half of the map, the next snapshot is like the first. A map that is not
    /// written back (anonymous, or a copy) is copied each time.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    ///
    /// # Platforms
    /// On Windows the copy that snapshots share is kept beside the map's own memory, so that a map with a snapshot takes
    /// twice the memory, once.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("data");
    /// # std::fs::write(&path, "before")?;
    /// # let file = std::fs::File::options().read(true).write(true).open(&path)?;
    /// let mut map = mapback::MmapMut::map_mut(&file)?;
    /// let then = map.snapshot()?;
    /// map.copy_from_slice(b"after!");
    /// assert_eq!(&then[..], b"before");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn snapshot(&self) -> io::Result<Snapshot> {
        Ok(Snapshot::new(self.handle.working.snapshot()?))
    }

    /// Drops what was changed since the last flush: the pages get the content that the file has.
    ///
    /// # Errors
    /// A conflict, if the file was changed by other means: [`reload`](MmapMut::reload) first. Those of reading: what was
    /// not reverted stays changed. `Unsupported` for a map that is not written back.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("data");
    /// # std::fs::write(&path, "as it was")?;
    /// # let file = std::fs::File::options().read(true).write(true).open(&path)?;
    /// let mut map = mapback::MmapMut::map_mut(&file)?;
    /// map.fill(0);
    /// map.revert()?;
    /// assert_eq!(&map[..], b"as it was");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn revert(&mut self) -> io::Result<()> {
        self.handle.working.revert()
    }

    /// Takes the file's content of now and keeps what this map changed, so that the next flush meets no conflict.
    ///
    /// With the tracker `compare`, or [`OnConflict::Merge`](crate::OnConflict::Merge), it keeps just the bytes that were
    /// changed; otherwise whole pages. The length of the map stays; past the end of the file it reads zero.
    ///
    /// # Errors
    /// Those of reading: the content may be partly old and partly new then, and a conflict remains one. `Unsupported` for
    /// an anonymous map.
    pub fn reload(&mut self) -> io::Result<()> {
        self.handle.working.reload()
    }

    /// Ends the map: writes changes back as dropping does, and says what could not be written. That is lost: whoever wants
    /// another try flushes first. Commits that wait in a journal are brought into the file and synced.
    ///
    /// # Errors
    /// As [`flush`](MmapMut::flush).
    pub fn close(self) -> io::Result<()> {
        self.handle.close()
    }

    /// Makes the map read-only. What was changed is still written back, at the latest when the map is dropped.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn make_read_only(self) -> io::Result<Mmap> {
        self.handle.working.make_read_only(false)?;
        Ok(Mmap { handle: self.handle })
    }

    /// Makes the map read-only and executable.
    ///
    /// # Errors
    /// `EACCES` where the system forbids it; `ENOMEM`.
    pub fn make_exec(self) -> io::Result<Mmap> {
        self.handle.working.make_read_only(true)?;
        Ok(Mmap { handle: self.handle })
    }

    /// Gives the map another length. What is added is loaded from the file; what is past its end reads zero. Changes in
    /// what is cut off are written back first.
    ///
    /// # Errors
    /// `ENOMEM`, also where the map would have to move and [`RemapOptions`] forbid it; those of reading and writing. The map
    /// has its old length then.
    ///
    /// # Platforms
    /// On Windows a map grows in place only up to the next multiple of 64 KiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use mapback::{MmapMut, RemapOptions};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let file = std::fs::File::options().read(true).write(true).create(true).open(dir.path().join("log"))?;
    /// file.set_len(10)?;
    /// let mut map = MmapMut::map_mut(&file)?;
    /// file.set_len(1 << 20)?;
    /// map.reload()?; // the length changed by other means than the map
    /// map.remap(1 << 20, RemapOptions::new().may_move(true))?;
    /// map[1 << 19] = 1;
    /// map.flush()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn remap(&mut self, new_len: usize, options: RemapOptions) -> io::Result<()> {
        self.handle.remap(new_len, options.may_move)
    }

    advice_methods!();
}

impl Deref for MmapMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is private to the process, and who stores to it has `&mut self`. The library itself only
        // loads from it for `&self`, be it in the thread that flushes every so often.
        unsafe { self.handle.bytes() }
    }
}

impl DerefMut for MmapMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has a reference. The thread that flushes every so often lets the kernel copy
        // what it writes, and makes no reference.
        unsafe { self.handle.bytes_mut() }
    }
}

impl AsRef<[u8]> for MmapMut {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for MmapMut {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for MmapMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmapMut").field("ptr", &self.as_ptr()).field("len", &self.len()).finish()
    }
}

impl From<MmapMut> for MmapRaw {
    fn from(map: MmapMut) -> MmapRaw {
        MmapRaw::of(map.handle)
    }
}

// SAFETY: the bytes are not inside the MmapMut, so that moving it leaves them where they are.
#[cfg(feature = "stable_deref_trait")]
unsafe impl stable_deref_trait::StableDeref for MmapMut {}
