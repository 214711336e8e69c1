//! `mmap` for real files, done in user space.
//!
//! mapback maps a file by copying it into anonymous memory, learns which pages the program changes, and writes
//! only those back at `msync`, `munmap` and exit. The kernel's own file mapping is not used.
//!
//! This crate is the engine. [`posix`] has the semantics of the `mmap` family over the address space of a process;
//! the interposer and the `mapback` command are thin faces of it.

#[cfg_attr(windows, path = "image/windows/mod.rs")]
mod image;
mod page;
pub mod posix;
#[cfg(target_os = "linux")]
pub mod probe;
#[cfg(target_os = "linux")]
pub mod raw;
mod stats;
mod store;
mod sync;
mod sys;
mod track;
#[cfg(windows)]
pub mod windows;

pub use stats::FileStats;
pub use sys::Errno;
pub use track::{TrackerKind, UnknownTracker};
