//! Windows: the address space as POSIX has it, made of reservations and section views; files by their HANDLEs.

pub(crate) mod chain;
pub(crate) mod companion;
pub(crate) mod errno;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod mem;
mod named;
mod past;
mod place;
pub(crate) mod region;
mod reservation;
pub(crate) mod section;
pub(crate) mod security;
pub(crate) mod signal;
pub(crate) mod space;
pub(crate) mod sync;
mod users;
pub(crate) mod watch;

use windows_sys::Win32::System::Threading::{GetCurrentProcessId, SwitchToThread};

/// The size of a page in bytes, the same on all 64-bit Windows.
pub(crate) const PAGE: usize = 4096;
/// Reservations and views begin at multiples of this many bytes (`dwAllocationGranularity`, the same on all
/// Windows).
pub(crate) const GRANULE: usize = 65536;

/// The size of a page in bytes.
pub(crate) fn page_size() -> usize {
    PAGE
}

/// This process's id.
pub(crate) fn pid() -> i32 {
    // SAFETY: reads a number.
    unsafe { GetCurrentProcessId() as i32 }
}

/// Lets others run for a moment.
pub(crate) fn relax() {
    // SAFETY: takes nothing.
    unsafe { SwitchToThread() };
}
