//! What mapback's tests stand on: a FUSE mount that refuses shared maps, and probes that tell how an access to
//! memory faults.
//!
//! For everybody who writes a [`mapback::store::Store`]: [`store`] has a suite to check it with, a store that fails on
//! purpose, and one that crashes.

pub mod fork;
pub mod kill;
mod mount;
pub mod passthrough;
#[cfg(target_arch = "x86_64")]
pub mod probe;
mod server_program;
pub mod stop;
pub mod store;

pub use mount::DirectIoMount;
