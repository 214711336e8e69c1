//! A test for each clause of docs/semantics.md, its number in the test's name.
//!
//! Natively they ask the kernel's own mmap, under `mapback run --maps all` mapback. `MAPBACK_TEST_DIR` names the
//! directory in which the files are made.

mod advice;
mod anonymous;
mod arguments;
mod beside;
mod coherence;
mod denied;
mod descriptors;
mod flags;
mod forking;
mod kernel_access;
mod kernel_buffers;
mod limits;
mod locking;
mod locks;
mod placement;
mod process_end;
mod protection;
mod relatives;
mod remap;
mod resize;
mod sharing;
mod signal_masks;
mod signals;
mod size_limit;
mod sync;
mod tail;
mod threads;
mod times;
mod unmap;
