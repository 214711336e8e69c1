//! Helpers of the conformance tests: the clauses of docs/semantics.md, checked through libc's own functions.
//!
//! The tests call `mmap` and its family exactly as a C program does, so one binary answers for both sides: started
//! plainly it asks the kernel, started by `mapback run` it asks mapback.

pub mod actor;
pub mod calls;
pub mod cells;
pub mod file;
pub mod jump;
pub mod locks;
pub mod map;
pub mod probe;
pub mod process;
pub mod scene;
pub mod signals;
pub mod writer;

pub use calls::{Errno, page};
pub use file::TestFile;
pub use map::Map;
pub use scene::Scene;
