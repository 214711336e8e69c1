//! Images: the content of one file in memory, whoever maps it.
//!
//! The memory is a shared-memory object sized to the *exact* end of the file, so that the kernel itself supplies
//! the zero tail of the last page, refuses what lies past the end, and follows a truncation in every map at
//! once. The library looks at it through a window of its own, which no tracker watches.

mod load;
mod lock;
mod marks;
mod partial;
mod replay;
mod settle;
pub(crate) mod shared;
pub(crate) mod working;
mod write_back;

use lock::Readiness;
pub(crate) use lock::{AHEAD, Locked};
pub(crate) use settle::{PathHandle, Settled};
pub(crate) use write_back::{Next, WriteBackError};

use crate::page;
use crate::stats::Counters;
use crate::store::FileStore;
use crate::sync::Mutex;
use crate::sys::Errno;
use crate::sys::os::{self, file::FileId, mem, shm::Shm, signal::Blocked};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use marks::Marks;
use partial::Partial;
use rustix::fd::BorrowedFd;
use shared::{Control, Dir, Presence};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One file's content in memory.
///
/// Locks are taken in this order: the space's, then an image's `io`, then those of its control block.
pub(crate) struct Image {
    /// Which file this is.
    pub(crate) id: FileId,
    /// Its name when it was first mapped, for messages.
    pub(crate) name: PathBuf,
    pub(crate) shm: Shm,
    pub(crate) counters: Counters,
    /// Bytes mapped in this address space; changed under the space's lock.
    pub(crate) mapped: AtomicUsize,
    /// Calls under way that need the image though nothing is mapped; changed under the space's lock.
    pub(crate) pins: AtomicUsize,
    /// Whether there may be, or has been, another process that writes back the same memory: what stands in the store is
    /// not known from what this one wrote.
    shared: AtomicBool,
    /// Where the control block lies; `None`: no unrelated process can find this image.
    dir: Option<Arc<Dir>>,
    /// Whether changes are found by comparing: from the first writable map on there is a pristine copy.
    compare: bool,
    len: AtomicU64,
    io: Mutex<Io>,
}

/// What moves content between the memory and the store; whoever has it is the only one who does.
pub(crate) struct Io {
    loaded: bool,
    control: Option<Control>,
    /// Over a fork: what the child will have in place of `control`.
    for_child: Option<Result<Control, Errno>>,
    /// Others had changed the file when this process began to.
    foreign: bool,
    /// What tells other users that this one has an image.
    presence: Option<Presence>,
    window: Window,
    marks: Marks,
    /// Written since the store was last synced with success: what a failed sync puts in doubt.
    unsynced: Marks,
    /// The first handle, with the access of the descriptor that was mapped first.
    first: FileStore,
    /// One that may write, if the first may not and a later descriptor could.
    writer: Option<FileStore>,
    pristine: Option<Partial>,
}

/// The library's own view of the memory, from its beginning.
#[derive(Debug, Default)]
struct Window {
    addr: usize,
    len: usize,
}

impl Window {
    /// Makes the window show at least `len` bytes.
    fn cover(&mut self, shm: &Shm, len: u64) -> Result<(), Errno> {
        let len = usize::try_from(len).map_err(|_| Errno::NOMEM)?;
        if len <= self.len {
            return Ok(());
        }
        let room = page::ceil(len.saturating_add(len / 2), os::page_size()).ok_or(Errno::NOMEM)?;
        let addr = shm.window(room)?;
        drop(core::mem::replace(self, Window { addr, len: room }));
        Ok(())
    }

    /// The address of byte `off`, which must be inside.
    fn at(&self, off: u64) -> *mut u8 {
        debug_assert!(off <= self.len as u64);
        (self.addr + off as usize) as *mut u8
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: mapped by `cover`, and addresses of it live only as long as the `io` lock is held.
            let _ = unsafe { mem::munmap(self.addr, self.len) };
        }
    }
}

impl Io {
    /// The handle with the most access.
    fn store(&self) -> &FileStore {
        self.writer.as_ref().unwrap_or(&self.first)
    }
}

impl Image {
    /// An image of the file behind `fd`, not yet loaded: that of all processes which share `dir`, or one of this process
    /// and those that it forks.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM` and the like; those of [`Control::attach`].
    pub(crate) fn new(
        id: FileId,
        fd: BorrowedFd<'_>,
        writable: bool,
        compare: bool,
        dir: Option<Arc<Dir>>,
    ) -> Result<Image, Errno> {
        let name = os::file::name(fd);
        let presence = match &dir {
            Some(_) => Presence::claim(&id, &name, writable)?,
            None => None,
        };
        let (control, shm) = match &dir {
            Some(dir) => {
                let attached = Control::attach(dir, &id, &name);
                let attached = attached.inspect_err(|errno| cannot_attach(dir, &id, &name, *errno));
                attached.map(|(control, shm)| (Some(control), shm))?
            }
            None => (None, Shm::new()?),
        };
        let first = FileStore::open(fd, writable);
        let first = match first {
            Ok(first) => first,
            Err(errno) => {
                if let (Some(control), Some(dir)) = (control, &dir) {
                    control.leave(dir);
                }
                return Err(errno);
            }
        };
        let image = Image::with(id, name, shm, first, control, dir, compare);
        image.io.lock().presence = presence;
        Ok(image)
    }

    fn with(
        id: FileId,
        name: PathBuf,
        shm: Shm,
        first: FileStore,
        control: Option<Control>,
        dir: Option<Arc<Dir>>,
        compare: bool,
    ) -> Image {
        let io = Io {
            loaded: false,
            control,
            for_child: None,
            foreign: false,
            presence: None,
            window: Window::default(),
            marks: Marks::default(),
            unsynced: Marks::default(),
            first,
            writer: None,
            pristine: None,
        };
        Image {
            id,
            name,
            shm,
            counters: Counters::default(),
            mapped: AtomicUsize::new(0),
            pins: AtomicUsize::new(0),
            shared: AtomicBool::new(false),
            dir,
            compare,
            len: AtomicU64::new(0),
            io: Mutex::new(io),
        }
    }

    /// An image that other processes have, for one that has no map of the file but reads or writes it. `None`: there
    /// is none.
    ///
    /// # Errors
    /// `EAGAIN` while nobody has loaded it; `EMFILE`, `ENOMEM` and the like.
    pub(crate) fn visit(
        id: FileId,
        fd: BorrowedFd<'_>,
        writable: bool,
        dir: &Arc<Dir>,
    ) -> Result<Option<Image>, Errno> {
        loop {
            let (control, shm) = match Control::visit(dir, &shared::name_of(&id)) {
                Err(Errno::NOENT) => return Ok(None),
                opened => opened?,
            };
            let first = FileStore::open(fd, writable)?;
            let name = os::file::name(fd);
            let image = Image::with(id, name, shm, first, Some(control), Some(dir.clone()), false);
            match image.readiness() {
                Readiness::Ready => return Ok(Some(image)),
                Readiness::NotYet => return Err(Errno::AGAIN),
                Readiness::Gone => {}
            }
        }
    }

    /// Takes over the access of a descriptor, if it may write and the image could not.
    pub(crate) fn adopt(&self, fd: BorrowedFd<'_>, writable: bool) -> Result<(), Errno> {
        let mut io = self.io.lock();
        if writable && !io.store().is_writable() {
            if let Some(presence) = &mut io.presence {
                presence.may(true, &self.name)?;
            }
            io.writer = Some(FileStore::open(fd, true)?);
        }
        Ok(())
    }

    /// The length in bytes: the exact end of the file, as it was when last looked at.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Notes pages as changed; `bytes` are file offsets.
    pub(crate) fn mark(&self, bytes: Range<u64>) {
        let end = bytes.end.min(page::ceil64(self.shared_len(), os::page_size()));
        let pages = to_pages(&(bytes.start..end.max(bytes.start)));
        let new = self.io.lock().marks.set(pages);
        crate::stats::add(&self.counters.pages_changed, new as u64);
    }

    /// Whether everything has been written back.
    pub(crate) fn is_clean(&self) -> bool {
        self.io.lock().marks.is_empty()
    }

    /// Returns when all that was written back is on the storage. If that fails, nobody knows what of it is, and all
    /// of it counts as changed again.
    ///
    /// # Errors
    /// Those of `fdatasync`.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        let _blocked = Blocked::new();
        let mut io = self.io.lock();
        let done = io.store().sync();
        let mut written = core::mem::take(&mut io.unsynced);
        if done.is_err() {
            while let Some(run) = written.take_run(&(0..usize::MAX), usize::MAX) {
                io.marks.set(run);
            }
        }
        done
    }

    /// Whether unrelated processes can find it.
    pub(crate) fn can_be_found(&self) -> bool {
        self.dir.is_some()
    }

    /// Whether another process may write the same memory back.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// The length of the memory, which another process may have changed.
    pub(crate) fn shared_len(&self) -> u64 {
        let own = self.dir.is_none() && !self.is_shared();
        if own { self.len() } else { self.shm.len().unwrap_or(self.len()) }
    }

    /// Takes the image's lock over a fork, so that no other thread's work is cut in two in the child, and enters the
    /// child in the control block.
    pub(crate) fn lock_for_fork(&self) {
        let mut io = self.io.lock();
        if let (Some(control), Some(dir)) = (&io.control, &self.dir) {
            io.for_child = Some(control.for_child(dir));
        }
        core::mem::forget(io);
        self.shared.store(true, Ordering::Relaxed);
    }

    /// Ends [`Image::lock_for_fork`], on each side of the fork.
    ///
    /// # Safety
    /// This thread, or the one that it was forked from, must have called `lock_for_fork`.
    pub(crate) unsafe fn unlock_after_fork(&self, child: bool) {
        // SAFETY: the lock is held, by this thread or the one that it is a copy of.
        let io = unsafe { &mut *self.io.data_ptr() };
        // The parent closes it: the description and its locks live on in the child. Without a child they end here.
        let for_child = io.for_child.take();
        if child {
            if let Some(presence) = &mut io.presence {
                presence.renew();
            }
            if let (Some(control), Some(fresh)) = (&mut io.control, for_child)
                && let Err(errno) = fresh.and_then(|fresh| control.become_child(fresh))
            {
                crate::report::line(&format!(
                    "a forked process cannot enter the control block of {}: {errno}. \
                     It and its parent must not write to the file at the same time",
                    self.name.display()
                ));
                // It is the parent's, whose leave this process must not take.
                io.control = None;
            }
        }
        // SAFETY: the caller vouches that the lock is held and its guard forgotten.
        unsafe { self.io.force_unlock() };
    }
}

/// Says why there is no map, which the program may not.
fn cannot_attach(dir: &Dir, id: &FileId, file: &Path, errno: Errno) {
    crate::report::line(&format!(
        "no map of {}: {errno} with {}.*, where its image is to be. Should nothing of mapback's be at work, remove what \
         stands there",
        file.display(),
        dir.path().join(shared::name_of(id)).display()
    ));
}

/// Whole pages around a range of bytes.
fn to_pages(bytes: &Range<u64>) -> Range<usize> {
    let page = os::page_size() as u64;
    (bytes.start / page) as usize..bytes.end.div_ceil(page) as usize
}

impl core::fmt::Debug for Image {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Image").field("name", &self.name).field("len", &self.len()).finish_non_exhaustive()
    }
}
