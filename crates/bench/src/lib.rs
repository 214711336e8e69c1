//! Kernel mmap and mapback side by side: what the runner `mapback-bench` and the criterion benches share.

pub mod contender;
pub mod face;
pub mod file;
pub mod folios;
pub mod respawn;

pub use contender::Contender;
pub use face::{Face, Map};
