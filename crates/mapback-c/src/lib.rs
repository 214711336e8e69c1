//! mapback for C programs.
//!
//! Everything is declared in `include/mapback.h`; on Windows `include/sys/mman.h` gives the POSIX names too. Each
//! function has the contract of its namesake without the prefix, and says why it failed in `errno` and in
//! [`info::mapback_error_text`].
//!
//! On Windows a program may have another C run-time library than this one, with another `errno` and other
//! descriptors. The functions therefore take HANDLEs, and what the headers define inline translates both.

mod errors;
pub mod info;
pub mod mman;
mod process;
mod space;
#[cfg(windows)]
pub mod windows;
