//! Which requests are served on Windows: all that are sound. There is no kernel behind us that would answer the
//! others, so every error of `mmap` comes from here.

use super::Request;
use crate::sys::Errno;
use crate::sys::os::{self, fd::Borrowed, file, mem};
use crate::track::TrackerKind;

/// How a [`super::Space`] behaves.
pub struct Config {
    /// The tracker to use; without, the best that works here. `write-watch` makes the memory of shared maps this
    /// process's alone.
    pub tracker: Option<TrackerKind>,
    /// Tells the user, in one line, what no call can return.
    pub report: fn(&str),
}

impl Default for Config {
    fn default() -> Config {
        Config { tracker: None, report: |_| () }
    }
}

impl core::fmt::Debug for Config {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Config").field("tracker", &self.tracker).finish_non_exhaustive()
    }
}

/// What a handle allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) writable: bool,
    /// The protections that a map through this handle may ever have.
    pub(super) allowed: i32,
}

/// Whether a request is for a shared map, if its arguments are sound but for the handle.
///
/// # Errors
/// `EINVAL`; `EOVERFLOW` past the greatest offset; `ENOMEM` past the end of the address space.
pub(super) fn is_shared(req: &Request) -> Result<bool, Errno> {
    let anonymous = req.flags & mem::MAP_ANONYMOUS != 0;
    let fixed = req.flags & (mem::MAP_FIXED | mem::MAP_FIXED_NOREPLACE) != 0;
    let page = os::page_size();
    let shared = match req.flags & mem::MAP_TYPE {
        mem::MAP_SHARED | mem::MAP_SHARED_VALIDATE => true,
        mem::MAP_PRIVATE => false,
        _ => return Err(Errno::INVAL),
    };
    if req.len == 0 || (fixed && !req.addr.is_multiple_of(page)) {
        return Err(Errno::INVAL);
    }
    let len = crate::page::ceil(req.len, page).ok_or(Errno::NOMEM)?;
    if !anonymous {
        if req.off % page as i64 != 0 {
            return Err(Errno::INVAL);
        }
        let off = u64::try_from(req.off).map_err(|_| Errno::OVERFLOW)?;
        if len > mem::USER_SPACE {
            return Err(Errno::NOMEM);
        }
        off.checked_add(len as u64).filter(|end| *end <= i64::MAX as u64).ok_or(Errno::OVERFLOW)?;
    }
    if len > mem::USER_SPACE { Err(Errno::NOMEM) } else { Ok(shared) }
}

/// What a handle allows a map to do.
///
/// # Errors
/// `EBADF`, `ENODEV`, `EACCES`.
pub(super) fn candidate(req: &Request, fd: Borrowed<'_>, shared: bool) -> Result<Candidate, Errno> {
    let facts = file::facts(fd)?;
    let access = file::access(fd)?;
    if !facts.regular {
        return Err(Errno::NODEV);
    }
    if !access.read || (shared && req.prot & mem::PROT_WRITE != 0 && !access.write) {
        return Err(Errno::ACCESS);
    }
    let write = if access.write || !shared { mem::PROT_WRITE } else { 0 };
    Ok(Candidate { writable: shared && access.write, allowed: mem::PROT_READ | write | mem::PROT_EXEC })
}
