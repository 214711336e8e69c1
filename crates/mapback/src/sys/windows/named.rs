//! The named objects by which processes find each other's images.

use super::errno::Errno;
use super::file::FileId;
use super::section::CONTENT;
use super::security::Attributes;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, GetLastError, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, PAGE_EXECUTE_READWRITE, PAGE_READWRITE, SEC_RESERVE,
};
use windows_sys::Win32::System::Threading::{INFINITE, ReleaseMutex, WaitForSingleObject};

/// Held while an image is loaded; other processes that want it wait.
pub(crate) struct Loading<'o>(pub(super) Option<&'o OwnedHandle>);

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if let Some(mutex) = self.0 {
            // SAFETY: this thread took it.
            unsafe { ReleaseMutex(mutex.as_raw_handle()) };
        }
    }
}

/// Waits for a mutex; one that its owner's death left behind counts as taken.
pub(super) fn take(mutex: &OwnedHandle) -> Loading<'_> {
    // SAFETY: takes a handle.
    unsafe { WaitForSingleObject(mutex.as_raw_handle(), INFINITE) };
    Loading(Some(mutex))
}

pub(super) fn wide(name: &str) -> Vec<u16> {
    name.encode_utf16().chain([0]).collect()
}

/// An owned handle of what a call returned, and whether it was there before.
///
/// # Safety
/// `handle` must be the fresh result of the call that was just made, owned by nobody.
pub(super) unsafe fn made(handle: *mut core::ffi::c_void) -> Result<(OwnedHandle, bool), Errno> {
    // SAFETY: reads a number.
    let existed = unsafe { GetLastError() } == ERROR_ALREADY_EXISTS;
    if handle.is_null() {
        return Err(Errno::last());
    }
    // SAFETY: the caller's word.
    Ok((unsafe { OwnedHandle::from_raw_handle(handle) }, existed))
}

/// Makes or opens a section. One that may hold code where the system lets us.
pub(super) fn create(
    attributes: &Attributes,
    name: &[u16],
    capacity: u64,
) -> Result<(OwnedHandle, bool, bool), Errno> {
    let size = capacity + CONTENT as u64;
    let ask = |protection| {
        let (high, low) = ((size >> 32) as u32, size as u32);
        // SAFETY: the name ends in zero; the attributes live through the call.
        unsafe {
            made(CreateFileMappingW(
                INVALID_HANDLE_VALUE,
                attributes.as_ptr(),
                protection | SEC_RESERVE,
                high,
                low,
                name.as_ptr(),
            ))
        }
    };
    match ask(PAGE_EXECUTE_READWRITE) {
        Ok((section, existed)) => Ok((section, existed, true)),
        Err(_) => ask(PAGE_READWRITE).map(|(section, existed)| (section, existed, false)),
    }
}

/// Whether some process has the image of a file.
pub(crate) fn exists(id: FileId) -> bool {
    use windows_sys::Win32::System::Memory::{FILE_MAP_READ, OpenFileMappingW};
    let name = wide(&name_of(id));
    // SAFETY: the name ends in zero.
    let handle = unsafe { OpenFileMappingW(FILE_MAP_READ, 0, name.as_ptr()) };
    // SAFETY: just opened, owned by nobody else.
    unsafe { made(handle) }.is_ok()
}

pub(super) fn name_of(id: FileId) -> String {
    format!(r"Local\mapback-1-{:016x}-{:032x}", id.dev, id.ino)
}
