//! The program's handles, for the length of one call.

use super::errno::Errno;
// A file's name in this system, under the names that the faces use everywhere.
use std::os::windows::io::BorrowedHandle;
pub(crate) use std::os::windows::io::{
    AsHandle as AsFd, AsRawHandle as AsRawFd, BorrowedHandle as BorrowedFd, OwnedHandle as OwnedFd,
    RawHandle as RawFd,
};

/// What an object has open.
pub(crate) fn of(file: &impl AsFd) -> BorrowedFd<'_> {
    file.as_handle()
}

/// Its handle.
pub(crate) fn raw_of(file: &impl AsRawFd) -> RawFd {
    file.as_raw_handle()
}

/// What the program names a file by.
pub type Raw = isize;
/// The program's handle, for the length of one call.
pub(crate) type Borrowed<'a> = BorrowedHandle<'a>;

/// The program's handle.
///
/// # Errors
/// `EBADF` for `INVALID_HANDLE_VALUE` and 0.
pub(crate) fn borrow<'a>(handle: Raw) -> Result<Borrowed<'a>, Errno> {
    if handle == -1 || handle == 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not one of the two that are none. Whether it is open the kernel decides at each call.
    Ok(unsafe { BorrowedHandle::borrow_raw(handle as _) })
}
