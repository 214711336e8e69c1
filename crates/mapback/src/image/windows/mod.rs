//! Images on Windows: the content of one file in memory, whoever maps it.
//!
//! The memory is a section backed by the page file, found by the file's identity, so that every process of this user
//! that maps the file has the same; or memory of this process alone. Its length is the exact end of the file: what
//! lies past it is zero, and inaccessible from the next page on. The library looks at it through a view of its own,
//! which no tracker watches.

mod edges;
mod heirs;
mod load;
#[allow(dead_code)] // what only a keeper needs
#[path = "../marks.rs"]
mod marks;
#[path = "../replay.rs"]
mod replay;
#[path = "../working/mod.rs"]
pub(crate) mod working;
mod write_back;

pub(crate) use write_back::Next;

use crate::page;
use crate::stats::Counters;
use crate::store::FileStore;
use crate::sync::Mutex;
use crate::sys::Errno;
use crate::sys::os::fd::Borrowed;
use crate::sys::os::file::FileId;
use crate::sys::os::section::{Object, Section};
use crate::sys::os::{self};
use crate::track::Pristine;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use edges::Edges;
use marks::Marks;
use std::path::PathBuf;

/// One file's content in memory.
///
/// Locks are taken in this order: the space's, then an image's `io`, then that of the address space.
pub(crate) struct Image {
    /// Which file this is.
    pub(crate) id: FileId,
    /// Its name when it was first mapped, for messages.
    pub(crate) name: PathBuf,
    pub(crate) section: Section,
    pub(crate) counters: Counters,
    /// Bytes mapped in this address space; changed under the space's lock.
    pub(crate) mapped: AtomicUsize,
    /// Calls under way that need the image though nothing is mapped; changed under the space's lock.
    pub(crate) pins: AtomicUsize,
    /// Whether changes are found by comparing: from the first writable map on there is a pristine copy.
    compare: bool,
    len: AtomicU64,
    io: Mutex<Io>,
}

/// What moves content between the memory and the store; whoever has it is the only one who does.
struct Io {
    loaded: bool,
    marks: Marks,
    /// Written since the store was last synced with success: what a failed sync puts in doubt.
    unsynced: Marks,
    /// The first handle, with the access of the one that was mapped first.
    first: FileStore,
    /// One that may write, if the first may not and a later one could.
    writer: Option<FileStore>,
    pristine: Option<Pristine>,
    /// Where maps end within a page, if there is no pristine copy.
    edges: Edges,
}

impl Io {
    /// The handle with the most access.
    fn store(&self) -> &FileStore {
        self.writer.as_ref().unwrap_or(&self.first)
    }
}

/// How an image's memory is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// This process's alone.
    pub(crate) alone: bool,
    /// Bytes that there must be room for.
    pub(crate) need: u64,
}

impl Image {
    /// An image of the file behind `fd`, not yet loaded.
    ///
    /// # Errors
    /// `ENOMEM`, `EACCES` and the like.
    pub(crate) fn new(
        id: FileId,
        fd: Borrowed<'_>,
        writable: bool,
        compare: bool,
        memory: Memory,
    ) -> Result<Image, Errno> {
        let first = FileStore::open(fd, writable)?;
        let need = memory.need.max(first.len()?.saturating_mul(2));
        let object = if memory.alone { Object::alone(need)? } else { Object::shared(id, need)? };
        let io = Io {
            loaded: false,
            marks: Marks::default(),
            unsynced: Marks::default(),
            first,
            writer: None,
            pristine: None,
            edges: Edges::default(),
        };
        let section = Section::new(object);
        section.enter();
        Ok(Image {
            id,
            name: os::file::name(fd),
            section,
            counters: Counters::default(),
            mapped: AtomicUsize::new(0),
            pins: AtomicUsize::new(0),
            compare,
            len: AtomicU64::new(0),
            io: Mutex::new(io),
        })
    }

    /// Takes over the access of a handle, if it may write and the image could not.
    pub(crate) fn adopt(&self, fd: Borrowed<'_>, writable: bool) -> Result<(), Errno> {
        let mut io = self.io.lock();
        if writable && !io.store().is_writable() {
            io.writer = Some(FileStore::open(fd, true)?);
        }
        Ok(())
    }

    /// The length in bytes: the exact end of the file, as it was when last looked at.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// The length of the file in its store, now, as far as there is room for it.
    pub(crate) fn store_len(&self) -> Result<u64, Errno> {
        Ok(self.io.lock().store().len()?.min(self.section.capacity()))
    }

    /// The length of the memory, which another process may have changed.
    pub(crate) fn shared_len(&self) -> u64 {
        self.section.len()
    }

    /// Whether another process may have to write this process's changes back. Only once this one is dead, and then it
    /// compares.
    pub(crate) fn is_shared(&self) -> bool {
        false
    }

    /// Notes pages as changed; `bytes` are file offsets.
    pub(crate) fn mark(&self, bytes: Range<u64>) {
        let end = bytes.end.min(page::ceil64(self.len(), os::page_size()));
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
    /// Those of `FlushFileBuffers`.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        let mut io = self.io.lock();
        if !io.store().is_writable() {
            return Ok(());
        }
        let done = io.store().sync();
        let mut written = core::mem::take(&mut io.unsynced);
        if done.is_err() {
            while let Some(run) = written.take_run(&(0..usize::MAX), usize::MAX) {
                io.marks.set(run);
            }
        }
        done
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.leave();
    }
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
