//! A test for each clause of docs/semantics.md, its number in the test's name.
//!
//! Natively they ask the kernel's own mmap, under `mapback run --maps all` mapback. `MAPBACK_TEST_DIR` names the
//! directory in which the files are made.

#![cfg_attr(windows, allow(unused_imports))]

#[cfg(windows)]
extern crate mapback_windows_libc as libc;

#[cfg(unix)]
mod advice;
mod anonymous;
mod arguments;
#[cfg(unix)]
mod beside;
#[cfg(unix)]
mod coherence;
mod crowd;
#[cfg(unix)]
mod denied;
#[cfg(unix)]
mod descriptors;
mod edges;
#[cfg(windows)]
mod endings;
#[cfg(unix)]
mod flags;
#[cfg(unix)]
mod forking;
#[cfg(windows)]
mod granules;
#[cfg(unix)]
mod kernel_access;
#[cfg(unix)]
mod kernel_buffers;
#[cfg(unix)]
mod limits;
#[cfg(unix)]
mod locking;
#[cfg(unix)]
mod locks;
mod placement;
#[cfg(unix)]
mod process_end;
#[cfg(windows)]
mod processes;
mod protection;
#[cfg(unix)]
mod relatives;
#[cfg(unix)]
mod remap;
#[cfg(unix)]
mod resize;
mod sharing;
#[cfg(unix)]
mod signal_masks;
#[cfg(unix)]
mod signals;
#[cfg(windows)]
mod size;
#[cfg(unix)]
mod size_limit;
mod sync;
mod tail;
mod threads;
mod times;
mod unmap;
