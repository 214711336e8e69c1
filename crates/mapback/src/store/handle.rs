//! A local file as a store, on Windows.

use super::Run;
use crate::sys::Errno;
use crate::sys::os::{fd::Borrowed, file};
use core::ops::Range;
use std::os::windows::io::{AsHandle, OwnedHandle};

/// A local file as a store, through a handle of mapback's own with the access that the caller's had.
///
/// The caller may close its handle, and delete or rename the file. It never gets longer or shorter through a map.
///
/// # Platforms
/// Linux and Windows.
///
/// # Examples
///
/// ```
/// use mapback::store::{FileStore, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("data");
/// std::fs::write(&path, "content")?;
/// let store = FileStore::read_only(&path)?;
/// assert_eq!(store.stat()?.len, 7);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct FileStore {
    handle: OwnedHandle,
    /// The open file is our own: its offset is nobody else's.
    own: bool,
    writable: bool,
}

impl FileStore {
    /// A handle on the file behind `fd`.
    ///
    /// The file is opened anew if it can be: a mere duplicate shares the file's offset, and the program's share
    /// mode, which may keep everybody from deleting the file as long as it is mapped.
    ///
    /// # Errors
    /// `EBADF`, `ENOMEM`.
    pub(crate) fn open(fd: Borrowed<'_>, writable: bool) -> Result<FileStore, Errno> {
        match file::reopen(fd, writable) {
            Ok(handle) => Ok(FileStore { handle, own: true, writable }),
            Err(_) => Ok(FileStore { handle: file::duplicate(fd)?, own: false, writable }),
        }
    }

    /// The same file, opened anew to be written.
    ///
    /// # Errors
    /// `EACCES` and the like, where this process may not write to it.
    pub(crate) fn reopened_to_write(&self) -> Result<FileStore, Errno> {
        FileStore::open_anew(self.fd(), true)
    }

    /// As [`FileStore::open`], and never a duplicate.
    ///
    /// # Errors
    /// Those of opening the file.
    pub(crate) fn open_anew(fd: Borrowed<'_>, writable: bool) -> Result<FileStore, Errno> {
        Ok(FileStore { handle: file::reopen(fd, writable)?, own: true, writable })
    }

    /// Whether it may write.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// The handle.
    pub(crate) fn fd(&self) -> Borrowed<'_> {
        self.handle.as_handle()
    }

    /// Does something that moves the offset, and moves it back where it is the program's too.
    fn keeping_position<T>(&self, act: impl FnOnce(Borrowed<'_>) -> T) -> T {
        let fd = self.handle.as_handle();
        let before = if self.own { None } else { file::position(fd) };
        let done = act(fd);
        if let Some(at) = before {
            file::set_position(fd, at);
        }
        done
    }
}

impl FileStore {
    /// The length now.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn len(&self) -> Result<u64, Errno> {
        Ok(file::facts(self.handle.as_handle())?.len)
    }

    /// Reads up to `len` bytes; 0 at the end. A short read is no error.
    ///
    /// # Safety
    /// `buf` must be writable for `len` bytes.
    ///
    /// # Errors
    /// Those of `ReadFile`.
    pub(crate) unsafe fn read_raw(&self, buf: *mut u8, len: usize, off: u64) -> Result<usize, Errno> {
        // SAFETY: passed on.
        self.keeping_position(|fd| unsafe { file::pread(fd, buf, len, off) })
    }

    /// Writes up to `len` bytes and says how many. The caller keeps inside the file's length.
    ///
    /// # Safety
    /// `buf` must be readable for `len` bytes.
    ///
    /// # Errors
    /// Those of `WriteFile`.
    pub(crate) unsafe fn write_raw(&self, buf: *const u8, len: usize, off: u64) -> Result<usize, Errno> {
        // SAFETY: passed on.
        self.keeping_position(|fd| unsafe { file::pwrite(fd, buf, len, off) })
    }

    /// Returns when all that was written is on the storage.
    ///
    /// # Errors
    /// Those of `FlushFileBuffers`.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        file::flush(self.handle.as_handle())
    }

    /// Changes the length.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn set_len(&self, len: u64) -> Result<(), Errno> {
        file::set_len(self.fd(), len)?;
        file::touch(self.fd(), !self.own);
        Ok(())
    }

    /// Writes many runs, each of which gets its own outcome, and sets the file's time. `lock` is for other systems.
    ///
    /// # Safety
    /// Each run's memory must be readable.
    pub(crate) unsafe fn write_many(&self, _lock: Option<Borrowed<'_>>, runs: &mut [Run]) {
        for run in &mut *runs {
            // SAFETY: the caller's word.
            unsafe { run.write_rest(self) };
        }
        if runs.iter().any(|run| run.done > 0) {
            file::touch(self.fd(), !self.own);
        }
    }

    /// The first stretch of data in a range: all of it. Holes are read as what they are, zeros.
    pub(crate) fn data(&self, off: u64, end: u64) -> Option<Range<u64>> {
        (off < end).then_some(off..end)
    }
}
