//! `mmap` for real files, done in user space.
//!
//! mapback maps a file by copying it into anonymous memory, learns which pages the program changes, and writes
//! only those back at `msync`, `munmap` and exit. The kernel's own file mapping is not used.
//!
//! # Maps as slices
//!
//! [`Mmap`], [`MmapMut`] and [`MmapOptions`] have the names of the crate memmap2 and no `unsafe`: the memory belongs to
//! this process alone, so that nobody can change or truncate a `&[u8]` under its reader. Errors of the storage come back
//! from [`flush`](MmapMut::flush) as values, and leave what failed to be tried again; no map raises SIGBUS.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("data");
//! # std::fs::write(&path, [0; 10_000])?;
//! let file = std::fs::File::options().read(true).write(true).open(&path)?;
//! let mut map = mapback::MmapMut::map_mut(&file)?;
//! map[5000] = 1;
//! map.flush()?; // writes one page, and returns when it is on the storage
//! map[0] = 2;
//! map[9999] = 2;
//! map.flush_atomic()?; // after a crash both are in the file, or neither
//! # std::io::Result::Ok(())
//! ```
//!
//! If others change the file meanwhile, [`OnConflict`] says what happens; without a choice, [`Error::Conflict`].
//! [`MmapMut::snapshot`] is a view that stays as it is, [`MmapMut::revert`] drops changes. A map may stand on a
//! [`store::Store`] of your own instead of a file. The repository has a page on moving from memmap2, and one on which
//! [`TrackerKind`] to choose when.
//!
//! What a map of this kind is not: it is no window on the page cache. The whole content is loaded when it is made, other
//! maps of the file do not show its stores, and a process that is killed loses what it did not flush.
//!
//! # Maps that processes share
//!
//! [`MmapShared`] is the map for programs that talk through a file's content: what one process stores the others see at
//! once. It is a slice of atomic cells, and needs no `unsafe` either; its own text says why.
//!
//! # The engine
//!
//! [`posix`] has the semantics of the `mmap` family over the address space of a process; the interposer and the `mapback`
//! command are thin faces of it.
//!
//! # Platforms
//!
//! Linux, on x86-64 and aarch64, and Windows, on x86-64 (tested under Wine only). [`MmapShared`] and advice are for Linux,
//! and are not there elsewhere. The stores in memory and the journal are everywhere.
//!
//! # Features
//!
//! `stable_deref_trait`: the maps are `StableDeref`.

// No face uses the trackers on other systems yet.
#![cfg_attr(not(any(target_os = "linux", windows)), allow(dead_code, unused_imports))]

#[cfg(any(target_os = "linux", windows))]
mod error;
#[cfg(any(target_os = "linux", windows))]
#[cfg_attr(windows, path = "image/windows/mod.rs")]
mod image;
#[cfg(target_os = "linux")]
pub mod keeper;
#[cfg(any(target_os = "linux", windows))]
mod map;
mod page;
#[cfg(any(target_os = "linux", windows))]
#[cfg_attr(windows, path = "posix/windows/mod.rs")]
pub mod posix;
#[cfg(target_os = "linux")]
pub mod probe;
#[cfg(target_os = "linux")]
pub mod raw;
#[cfg(any(target_os = "linux", windows))]
mod report;
mod stats;
pub mod store;
mod sync;
mod sys;
mod track;
#[cfg(windows)]
pub mod windows;

#[cfg(any(target_os = "linux", windows))]
pub use error::{Conflict, Error};
#[cfg(any(target_os = "linux", windows))]
pub use image::working::OnConflict;
#[cfg(target_os = "linux")]
pub use map::{Advice, Cell, MmapShared, UncheckedAdvice};
#[cfg(any(target_os = "linux", windows))]
pub use map::{
    Mmap, MmapAsRawDesc, MmapMut, MmapOptions, MmapRaw, MmapRawDescriptor, RemapOptions, Snapshot, Source,
};
pub use stats::FileStats;
pub use sys::Errno;
pub use track::{TrackerKind, UnknownTracker};

/// The examples of the guides, which have to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/memmap2.md")]
struct Guides;
