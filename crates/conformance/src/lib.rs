//! Helpers of the conformance tests: the clauses of docs/semantics.md, checked through libc's own functions.
//!
//! The tests call `mmap` and its family exactly as a C program does, so one binary answers for both sides: started
//! plainly it asks the kernel, started by `mapback run` it asks mapback.

#[cfg(windows)]
extern crate mapback_windows_libc as libc;

#[cfg(unix)]
pub mod actor;
pub mod apply;
pub mod calls;
#[cfg(unix)]
pub mod cells;
#[cfg_attr(windows, path = "windows/file.rs")]
pub mod file;
#[cfg(unix)]
pub mod jump;
#[cfg(unix)]
pub mod locks;
pub mod map;
#[cfg_attr(windows, path = "windows/probe.rs")]
pub mod probe;
#[cfg_attr(windows, path = "windows/process.rs")]
pub mod process;
#[cfg(unix)]
pub mod scene;
#[cfg(unix)]
pub mod signals;
#[cfg(unix)]
pub mod slow;
#[cfg(unix)]
pub mod writer;

/// Descriptors, where the standard library has none: Windows.
pub mod fd {
    #[cfg(windows)]
    pub use crate::file::{AsRawFd, OwnedFd};
    #[cfg(unix)]
    pub use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
}

pub use apply::does_not_apply;
pub use calls::{Errno, page};
pub use file::TestFile;
pub use map::Map;
#[cfg(unix)]
pub use scene::Scene;
