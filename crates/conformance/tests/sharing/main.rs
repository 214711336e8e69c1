//! One file in several processes that have nothing to do with each other: L1, L2, L3, L6, L9, L10, L14, P30, P31.
//!
//! The tests start the processes themselves: by the kernel's own maps, or under `mapback run` if `MAPBACK_PROGRAM` names
//! the command. `MAPBACK_TEST_DIR` names the directory in which the files are made.

mod coherence;
mod first_map;
mod growth;
mod hammer;
mod life;
mod locks;
mod memory;
mod relatives;
mod sync;
