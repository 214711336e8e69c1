//! Atomics and locks, which a model checker may replace.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU16, Ordering};

#[cfg(all(not(loom), any(target_os = "linux", windows)))]
pub(crate) use core::sync::atomic::{AtomicU16, Ordering};

/// A mutex that parks on a futex: no libc, no owner, so that both sides of a fork can release it.
#[cfg(target_os = "linux")]
pub(crate) type Mutex<T> = rustix_futex_sync::Mutex<T>;
#[cfg(windows)]
pub(crate) use crate::sys::os::sync::{Mutex, MutexGuard};
