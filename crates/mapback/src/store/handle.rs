//! A local file as a store, on Windows.

use crate::sys::Errno;
use crate::sys::os::{fd::Borrowed, file};
use std::os::windows::io::{AsHandle, OwnedHandle};

/// A file, through a handle of our own with the access that the program's had.
#[derive(Debug)]
pub(crate) struct FileStore {
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

    /// Whether it may write.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
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
}
