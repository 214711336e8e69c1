//! Maps to be read.

use super::advice::advice_methods;
use super::handle::Handle;
use super::{MmapMut, MmapOptions, MmapRaw, RemapOptions, Source};
use std::fmt;
use std::io;
use std::ops::Deref;

/// A file's content as a `&[u8]`.
///
/// The content is loaded when the map is made, into memory that belongs to this process alone. So no other program can
/// change, truncate or lose it under a reader: making one is safe, and reading one raises no signal. What the file
/// becomes later does not show; [`reload`](Mmap::reload) asks for it.
///
/// # Examples
///
/// ```
/// use mapback::Mmap;
/// use std::fs::File;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("data");
/// # std::fs::write(&path, "a b c")?;
/// let map = Mmap::map(&File::open(&path)?)?;
/// assert_eq!(map.split(|b| *b == b' ').count(), 3);
/// # std::io::Result::Ok(())
/// ```
pub struct Mmap {
    pub(super) handle: Handle,
}

impl Mmap {
    /// Maps a whole file to be read. [`MmapOptions`] has more.
    ///
    /// # Errors
    /// See [`MmapOptions::map`].
    pub fn map(file: impl Source) -> io::Result<Mmap> {
        MmapOptions::new().map(file)
    }

    /// Makes the map writable. If it was made by [`map`](Mmap::map), changes are written back to the file; if by
    /// [`MmapOptions::map_copy_read_only`], they are not.
    ///
    /// # Errors
    /// `PermissionDenied` if the file was not opened to be written; `ENOMEM`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("data");
    /// # std::fs::write(&path, "data")?;
    /// let file = std::fs::File::options().read(true).write(true).open(&path)?;
    /// let mut map = mapback::Mmap::map(&file)?.make_mut()?;
    /// map[0] = b'D';
    /// map.flush()?;
    /// assert_eq!(std::fs::read(&path)?, b"Data");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn make_mut(self) -> io::Result<MmapMut> {
        self.handle.working.make_writable()?;
        Ok(MmapMut { handle: self.handle })
    }

    /// Takes the file's content of now. The length of the map stays; past the end of the file it reads zero.
    ///
    /// # Errors
    /// Those of reading the file: the content may be partly old and partly new then. `Unsupported` for an anonymous map.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("data");
    /// std::fs::write(&path, "old")?;
    /// let mut map = mapback::Mmap::map(path.as_path())?;
    /// std::fs::write(&path, "new")?;
    /// assert_eq!(&map[..], b"old");
    /// map.reload()?;
    /// assert_eq!(&map[..], b"new");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn reload(&mut self) -> io::Result<()> {
        self.handle.working.reload()
    }

    /// Gives the map another length. What is added is loaded from the file; what is past its end reads zero.
    ///
    /// # Errors
    /// `ENOMEM`, also where the map would have to move and [`RemapOptions`] forbid it; those of reading. The map has its old
    /// length then.
    ///
    /// # Platforms
    /// On Windows a map grows in place only up to the next multiple of 64 KiB.
    pub fn remap(&mut self, new_len: usize, options: RemapOptions) -> io::Result<()> {
        self.handle.remap(new_len, options.may_move)
    }

    advice_methods!();
}

impl Deref for Mmap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: nobody stores to the memory of a Mmap: it is private to the process, was made read-only, and only
        // `&mut self` methods load into it.
        unsafe { self.handle.bytes() }
    }
}

impl AsRef<[u8]> for Mmap {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Mmap {
    fn eq(&self, other: &Mmap) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Mmap {}

impl fmt::Debug for Mmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mmap").field("ptr", &self.as_ptr()).field("len", &self.len()).finish()
    }
}

impl From<Mmap> for MmapRaw {
    fn from(map: Mmap) -> MmapRaw {
        MmapRaw::of(map.handle)
    }
}

// SAFETY: the bytes are not inside the Mmap, so that moving it leaves them where they are.
#[cfg(feature = "stable_deref_trait")]
unsafe impl stable_deref_trait::StableDeref for Mmap {}
