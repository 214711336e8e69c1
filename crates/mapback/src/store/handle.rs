//! A local file as a store, on Windows.

use super::Store;
use crate::sys::Errno;
use crate::sys::os::{fd::Borrowed, file};
use core::ops::Range;
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

impl Store for FileStore {
    fn len(&self) -> Result<u64, Errno> {
        Ok(file::facts(self.handle.as_handle())?.len)
    }

    unsafe fn read_at(&self, buf: *mut u8, len: usize, off: u64) -> Result<usize, Errno> {
        // SAFETY: passed on.
        self.keeping_position(|fd| unsafe { file::pread(fd, buf, len, off) })
    }

    unsafe fn write_at(&self, buf: *const u8, len: usize, off: u64) -> Result<usize, Errno> {
        // SAFETY: passed on.
        self.keeping_position(|fd| unsafe { file::pwrite(fd, buf, len, off) })
    }

    fn sync(&self) -> Result<(), Errno> {
        file::flush(self.handle.as_handle())
    }

    fn data(&self, off: u64, end: u64) -> Option<Range<u64>> {
        (off < end).then_some(off..end)
    }
}
