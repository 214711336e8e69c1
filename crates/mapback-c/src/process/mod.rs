//! The process's use of the library, which begins at the first call that needs the space and ends as the system tells.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use mapback::posix::Space;
#[cfg(unix)]
use unix::begin;
#[cfg(windows)]
use windows::begin;

/// The space.
pub(crate) fn space() -> &'static Space {
    crate::space::made(begin)
}
