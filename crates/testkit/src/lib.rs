//! What mapback's tests stand on: a FUSE mount that refuses shared maps, and probes that tell how an access to
//! memory faults.
//!
//! All but the stores is for Linux.
//!
//! For everybody who writes a [`mapback::store::Store`]: [`store`] has a suite to check it with, a store that fails on
//! purpose, and one that crashes.

#[cfg(target_os = "linux")]
pub mod fork;
#[cfg(target_os = "linux")]
pub mod kill;
#[cfg(target_os = "linux")]
mod mount;
#[cfg(target_os = "linux")]
pub mod passthrough;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod probe;
#[cfg(target_os = "linux")]
mod server_program;
#[cfg(target_os = "linux")]
pub mod stop;
pub mod store;

#[cfg(target_os = "linux")]
pub use mount::DirectIoMount;
