//! What mapback's tests stand on: a FUSE mount that refuses shared maps, and probes that tell how an access to
//! memory faults.

mod mount;
pub mod passthrough;
#[cfg(target_arch = "x86_64")]
pub mod probe;
mod server_program;

pub use mount::DirectIoMount;
