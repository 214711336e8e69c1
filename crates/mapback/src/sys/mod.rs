//! Every call to the operating system, and nearly all of the unsafe code.
//!
//! One folder per system; the rest of the library sees only what this file re-exports.

#[cfg(target_os = "linux")]
pub(crate) mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux as os;

#[cfg(windows)]
pub(crate) mod windows;
#[cfg(windows)]
pub(crate) use windows as os;

#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) mod unix;
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) use unix as os;

/// An error number of the operating system.
#[cfg(unix)]
pub type Errno = rustix::io::Errno;
/// An error number of the operating system.
#[cfg(windows)]
pub use windows::errno::Errno;
