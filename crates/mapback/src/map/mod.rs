//! The safe face: maps of files as slices of bytes.

mod advice;
mod handle;
mod mmap;
mod mmap_mut;
mod options;
mod raw;
#[cfg(target_os = "linux")]
mod shared;
mod snapshot;
mod source;

#[cfg(target_os = "linux")]
pub use advice::{Advice, UncheckedAdvice};
pub use mmap::Mmap;
pub use mmap_mut::MmapMut;
pub use options::{MmapOptions, RemapOptions};
pub use raw::MmapRaw;
#[cfg(target_os = "linux")]
pub use shared::{Cell, MmapShared};
pub use snapshot::Snapshot;
pub use source::{MmapAsRawDesc, MmapRawDescriptor, Source};
