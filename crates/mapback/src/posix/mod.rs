//! The `mmap` family over the address space of this process.
//!
//! [`Space`] keeps the ordered table of the maps that are ours. What concerns none of them goes to the kernel by
//! raw system call, with the arguments as they came. What concerns some is done under one lock, with signals
//! blocked; content is written back after the lock is released.

mod advise;
mod coherence;
mod fork;
mod map;
mod policy;
mod protect;
mod registry;
mod remap;
mod state;
mod sync;
mod table;
mod trackers;
mod unmap;

pub use coherence::{Again, Change, Kind};
pub use policy::{Config, Mode, Share};
pub use registry::{forget_all_fds, forget_fd, may_have_image, may_have_images};
pub use remap::Remap;

use crate::image::shared::Dir;
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
    /// The descriptor.
    pub fd: i32,
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
    /// Where images are shared, once that was looked for, by the user who did.
    shared: Mutex<Option<(u32, Option<Arc<Dir>>)>>,
    pid: AtomicI32,
}

/// The lock of a space, with signals blocked for as long as it is held.
struct Entered<'s> {
    state: rustix_futex_sync::MutexGuard<'s, State>,
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
            shared: Mutex::new(None),
            pid: AtomicI32::new(os::pid()),
        }
    }

    /// Sets up what must be there before the program starts threads or installs handlers: the `fault` tracker's
    /// own handler, if that tracker was asked for.
    pub fn begin(&self) {
        registry::connect(&self.config.share);
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

    /// Whether what is mapped at an address is a map of ours, the memory of which other processes can find.
    pub(crate) fn is_shared_at(&self, addr: usize) -> bool {
        let parts = self.enter().maps.overlapping(&(addr..addr + 1));
        parts.iter().any(|(_, map)| map.shared && map.image.can_be_found())
    }

    /// How many images this process has.
    fn own_images(&self) -> usize {
        self.images.load(Ordering::Acquire)
    }

    /// The directory in which images are shared. `None`: they are not. A process that becomes another user's shares
    /// with that user's from then on.
    fn dir(&self) -> Option<Arc<Dir>> {
        let _blocked = Blocked::new();
        let mut shared = self.shared.lock();
        let uid = os::effective_uid();
        match &*shared {
            Some((user, dir)) if *user == uid => dir.clone(),
            // A `vfork` child that became somebody else: all of this is its parent's.
            _ if self.is_foreign() => None,
            _ => {
                registry::connect(&self.config.share);
                let dir = self.open_dir();
                *shared = Some((uid, dir.clone()));
                dir
            }
        }
    }

    /// The process has become another user: from now on it looks among that user's images. Does nothing in a process
    /// that merely borrows the address space.
    pub fn user_changed(&self) {
        if self.is_foreign() {
            return;
        }
        let _blocked = Blocked::new();
        let _one_at_a_time = self.shared.lock();
        registry::connect(&self.config.share);
    }

    fn open_dir(&self) -> Option<Arc<Dir>> {
        let chosen = match &self.config.share {
            Share::No => return None,
            Share::Default => None,
            Share::In(path) => Some(path.as_path()),
        };
        let opened = Dir::open(chosen);
        if let Err(errno) = &opened {
            let place =
                chosen.map_or("/dev/shm or $XDG_RUNTIME_DIR".into(), |path| path.display().to_string());
            self.report(&format!(
                "cannot share images through {place}: {errno}. Other processes will not see stores before they are \
                 written back; see MAPBACK_SHARED_DIR"
            ));
        }
        opened.ok().map(Arc::new)
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
