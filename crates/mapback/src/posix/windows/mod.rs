//! The `mmap` family over the address space of this process, on Windows.
//!
//! [`Space`] keeps the ordered table of the shared maps; private and anonymous memory is the affair of
//! `sys/windows/space.rs`, which stands where the kernel stands on other systems. There is no other `mmap` behind this
//! one that would serve or refuse a request, no fork, and nobody who tells of the program's other calls on its files:
//! so `mmap`, `msync` and what keeps image and file one are Windows' own, and the table, the choice of trackers,
//! `mprotect` and `munmap` are everybody's.

mod coherence;
mod map;
mod policy;
#[path = "../protect.rs"]
mod protect;
mod state;
mod sync;
#[allow(dead_code)] // what only a fork needs
#[path = "../table.rs"]
mod table;
#[allow(dead_code)] // what only a fork needs
#[path = "../trackers.rs"]
mod trackers;
#[path = "../unmap.rs"]
mod unmap;

pub use policy::Config;

use crate::image::{Image, Next};
use crate::stats::FileStats;
use crate::sync::Mutex;
use crate::sys::Errno;
use crate::sys::os::{self, signal::Blocked};
use crate::track::TrackerKind;
use core::ops::{Deref, DerefMut, Range};
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use state::State;
use std::sync::Arc;

/// The arguments of `mmap`, as the program gave them.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The address, or the hint.
    pub addr: usize,
    /// The length in bytes.
    pub len: usize,
    /// `PROT_*`.
    pub prot: i32,
    /// `MAP_*`.
    pub flags: i32,
    /// The descriptor; on Windows the HANDLE.
    pub fd: os::fd::Raw,
    /// The file offset in bytes.
    pub off: i64,
}

/// The address space of this process, as far as maps are ours.
///
/// There must be one at the most in a process: it is the address space that it speaks of.
#[derive(Debug)]
pub struct Space {
    config: Config,
    state: Mutex<State>,
    /// Images and maps that there are: so that calls that cannot concern us cost one load.
    images: AtomicUsize,
    maps: AtomicUsize,
    pid: AtomicI32,
}

/// The lock of a space, with signals blocked for as long as it is held.
struct Entered<'s> {
    state: crate::sync::MutexGuard<'s, State>,
    space: &'s Space,
    _blocked: Blocked,
}

impl Deref for Entered<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.space.images.store(self.state.images.len(), Ordering::Release);
        self.space.maps.store(usize::from(!self.state.maps.is_empty()), Ordering::Release);
    }
}

/// Parts of images to write back once the lock is released.
type Pending = Vec<(Arc<Image>, Range<u64>)>;

impl Space {
    /// A space without maps.
    pub fn new(config: Config) -> Space {
        let state = Mutex::new(State::new(config.tracker));
        crate::report::through(config.report);
        Space {
            config,
            state,
            images: AtomicUsize::new(0),
            maps: AtomicUsize::new(0),
            pid: AtomicI32::new(os::pid()),
        }
    }

    /// Sets up what must be there before the program starts threads or installs handlers: the `fault` tracker's
    /// own handler, if that tracker was asked for.
    pub fn begin(&self) {
        if self.config.tracker == Some(TrackerKind::Fault) {
            // Should it fail, the first map finds out, and takes another tracker.
            let _ = self.enter().trackers.arm(&(0..0), 0);
        }
    }

    /// Whether this process is the one whose maps these are (and not a `vfork` child that borrows them).
    pub fn is_owner(&self) -> bool {
        !self.is_foreign()
    }

    fn enter(&self) -> Entered<'_> {
        let blocked = Blocked::new();
        Entered { state: self.state.lock(), space: self, _blocked: blocked }
    }

    /// Whether any map is ours. One load.
    #[inline]
    pub fn has_maps(&self) -> bool {
        self.maps.load(Ordering::Acquire) != 0
    }

    /// Whether any file has an image. One load.
    #[inline]
    pub fn has_images(&self) -> bool {
        self.images.load(Ordering::Acquire) != 0
    }

    /// Whether this process shares its address space with the one that owns the space (a `vfork` child), or is a
    /// copy of it that nobody told us of. What ends such a process ends no map of the owner's.
    fn is_foreign(&self) -> bool {
        self.pid.load(Ordering::Relaxed) != os::pid()
    }

    /// Writes back what calls left behind, and lets go of images that nobody maps. What fails stays marked, in an
    /// image that is kept until it succeeds.
    fn finish(&self, pending: Pending) {
        if pending.is_empty() {
            return;
        }
        for (image, bytes) in &pending {
            let _blocked = Blocked::new();
            if let Err(error) = image.write_back(bytes.clone(), Next::Nothing) {
                self.report(&error.to_string());
            }
        }
        let mut state = self.enter();
        for (image, _) in pending {
            state.release(image);
        }
    }

    /// One line to the user, where no call can return an error.
    fn report(&self, line: &str) {
        (self.config.report)(line);
    }

    /// What was done for each file so far.
    pub fn stats(&self) -> Vec<FileStats> {
        self.enter().stats()
    }
}

/// The page-rounded range of a call's arguments; `None` when they are at fault, which the kernel will say.
fn span(addr: usize, len: usize) -> Option<Range<usize>> {
    let page = os::page_size();
    if !addr.is_multiple_of(page) {
        return None;
    }
    let end = addr.checked_add(crate::page::ceil(len, page)?)?;
    (end > addr).then_some(addr..end)
}

/// The first error, if any; like `?` for work that must be done to the end.
fn both(first: Result<(), Errno>, second: Result<(), Errno>) -> Result<(), Errno> {
    first.and(second)
}

/// Neighbouring parts of one image joined into one: a map that was cut into many pieces is still one piece of work.
fn joined(parts: impl Iterator<Item = (Arc<Image>, Range<u64>)>) -> Pending {
    let mut all = Pending::new();
    for (image, bytes) in parts {
        match all.last_mut() {
            Some((last, before)) if Arc::ptr_eq(last, &image) && before.end == bytes.start => {
                before.end = bytes.end;
            }
            _ => all.push((image, bytes)),
        }
    }
    all
}
