//! What C programs can ask and choose: the tracker, statistics, the last error's text.

use crate::errors::{self, status};
use crate::space::{existing, want};
use core::cell::RefCell;
use core::ffi::{CStr, c_char, c_int};
use mapback::{Errno, TrackerKind};
use std::ffi::CString;

/// The library's version, like `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn mapback_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

/// The number of this thread's last error, in the terms of `<errno.h>`.
#[unsafe(no_mangle)]
pub extern "C" fn mapback_errno() -> c_int {
    errors::last()
}

/// The text of this thread's last error; valid until the next call of this function by this thread.
#[unsafe(no_mangle)]
pub extern "C" fn mapback_error_text() -> *const c_char {
    thread_local! {
        static TEXT: RefCell<CString> = RefCell::new(CString::default());
    }
    let text = Errno::from_raw_os_error(errors::last()).to_string();
    TEXT.with_borrow_mut(|kept| {
        *kept = CString::new(text).unwrap_or_default();
        kept.as_ptr()
    })
}

/// Chooses the tracker by name, before anything is mapped.
///
/// # Safety
/// `name` must be a string that ends in zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mapback_set_tracker(name: *const c_char) -> c_int {
    if name.is_null() {
        return status(Err(Errno::INVAL));
    }
    // SAFETY: the caller's word.
    let name = unsafe { CStr::from_ptr(name) };
    let kind = name.to_str().ok().and_then(|name| name.parse::<TrackerKind>().ok());
    let Some(kind) = kind else { return status(Err(Errno::INVAL)) };
    status(if want(kind) { Ok(()) } else { Err(Errno::BUSY) })
}

/// Sums over all files since the process began.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MapbackStats {
    /// How many files were mapped shared.
    pub files: u64,
    /// How many maps there were of them.
    pub maps: u64,
    /// Bytes read from the files.
    pub bytes_loaded: u64,
    /// Pages found changed, each time that they were.
    pub pages_changed: u64,
    /// Runs of changed pages or bytes that were written.
    pub runs: u64,
    /// Bytes written to the files.
    pub bytes_written: u64,
}

/// Tells the statistics; `size` is what the program knows as the size of the structure.
///
/// # Safety
/// `out` must have room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mapback_stats(out: *mut MapbackStats, size: usize) -> c_int {
    if out.is_null() {
        return status(Err(Errno::INVAL));
    }
    let mut sum = MapbackStats::default();
    for file in existing().map(mapback::posix::Space::stats).unwrap_or_default() {
        sum.files += 1;
        sum.maps += file.maps;
        sum.bytes_loaded += file.bytes_loaded;
        sum.pages_changed += file.pages_changed;
        sum.runs += file.runs;
        sum.bytes_written += file.bytes_written;
    }
    let size = size.min(size_of::<MapbackStats>());
    // SAFETY: the caller's room; the structure is plain numbers, of which a shorter one has the first.
    unsafe { core::ptr::copy_nonoverlapping((&raw const sum).cast::<u8>(), out.cast::<u8>(), size) };
    0
}
