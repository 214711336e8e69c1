//! `mmap` for real files, done in user space.
//!
//! mapback maps a file by copying it into anonymous memory, learns which pages the program changes, and writes
//! only those back at `msync`, `munmap` and exit. The kernel's own file mapping is not used.
//!
//! This crate is the engine. [`posix`] has the semantics of the `mmap` family over the address space of a process;
//! the interposer and the `mapback` command are thin faces of it.

// No face uses the trackers on other systems yet.
#![cfg_attr(not(any(target_os = "linux", windows)), allow(dead_code, unused_imports))]

#[cfg(target_os = "linux")]
mod error;
#[cfg(any(target_os = "linux", windows))]
#[cfg_attr(windows, path = "image/windows/mod.rs")]
mod image;
#[cfg(target_os = "linux")]
pub mod keeper;
#[cfg(target_os = "linux")]
mod map;
mod page;
#[cfg(any(target_os = "linux", windows))]
#[cfg_attr(windows, path = "posix/windows/mod.rs")]
pub mod posix;
#[cfg(target_os = "linux")]
pub mod probe;
#[cfg(target_os = "linux")]
pub mod raw;
#[cfg(target_os = "linux")]
mod report;
mod stats;
pub mod store;
mod sync;
mod sys;
mod track;
#[cfg(windows)]
pub mod windows;

#[cfg(target_os = "linux")]
pub use error::{Conflict, Error};
#[cfg(target_os = "linux")]
pub use image::working::OnConflict;
#[cfg(target_os = "linux")]
pub use map::{
    Advice, Mmap, MmapAsRawDesc, MmapMut, MmapOptions, MmapRaw, MmapRawDescriptor, RemapOptions, Snapshot,
    Source, UncheckedAdvice,
};
pub use stats::FileStats;
pub use sys::Errno;
pub use track::{TrackerKind, UnknownTracker};
