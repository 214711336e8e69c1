//! The lock of what moves content between the memory and the store, across all processes that share the image.

use super::shared::{Record, Stage};
use super::{Image, Io, to_pages};
use crate::page;
use crate::store::{Run, Stamp};
use crate::sys::os;
use crate::sys::{Errno, os::signal::Blocked};
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

/// How far past the end of the file maps are tracked, in bytes.
pub(crate) const AHEAD: u64 = 4 << 20;

/// What an image is to a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It has the content.
    Ready,
    /// Whoever made it has not yet begun to load it, and will see what the file holds now.
    NotYet,
    /// It was taken away, and there may be another one by now.
    Gone,
}

/// The lock of one image, held by one thread of one process. Signals are blocked, so that no handler can wait for what
/// its own thread holds.
pub(crate) struct Locked<'i> {
    io: rustix_futex_sync::MutexGuard<'i, Io>,
    _blocked: Blocked,
}

impl Deref for Locked<'_> {
    type Target = Io;
    fn deref(&self) -> &Io {
        &self.io
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Io {
        &mut self.io
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(control) = &self.io.control {
            control.unlock();
        }
    }
}

impl Image {
    /// Waits until no thread of any process moves content, and learns what others did to the image.
    pub(crate) fn lock(&self) -> Locked<'_> {
        let blocked = Blocked::new();
        let mut io = self.io.lock();
        if let Some(control) = &mut io.control {
            control.lock();
            let record = control.record();
            if record.shared {
                self.shared.store(true, Ordering::Relaxed);
            }
            // Whoever was changing the file died over it, and owes nothing that would be settled: should the file have
            // been changed, the stamp tells.
            if record.busy && control.neighbours().dead.is_empty() {
                let stamp = io.store().stamp().ok().filter(|_| record.ours).unwrap_or(record.stamp);
                if let Some(control) = &mut io.control {
                    let _ = control.write(Record { busy: false, stamp, ..record });
                }
            }
        }
        if io.loaded {
            self.catch_up(&mut io);
        }
        Locked { io, _blocked: blocked }
    }

    /// As [`Image::lock`], for who may be a mere visitor. `None`: the image has been taken away, and there may be another
    /// one of the same file by now. As long as the lock is held, it is not.
    pub(crate) fn lock_current(&self) -> Option<Locked<'_>> {
        let io = self.lock();
        let gone = match (&io.control, &self.dir) {
            (Some(control), Some(dir)) => control.is_visitor() && !control.is_current(dir),
            _ => false,
        };
        (!gone).then_some(io)
    }

    /// Follows a change of the memory's length that another process made. Should there be no room for a larger window,
    /// the length stays as it is known, and what lies past it waits.
    fn catch_up(&self, io: &mut Io) {
        let (known, there) = (self.len(), self.shared_len());
        if known == there || self.cover(io, there).is_err() {
            return;
        }
        if let Some(pristine) = &mut io.pristine
            && pristine.resize(known, there).is_err()
        {
            return;
        }
        self.len.store(there, Ordering::Release);
        let page = os::page_size();
        if there < known {
            io.marks.clear(to_pages(&(page::ceil64(there, page)..known)));
        } else if io.store().is_writable() && self.mapped.load(Ordering::Relaxed) > 0 {
            // Maps are tracked up to some way past the end that we knew. What lies further may have been stored to.
            let mut at = page::ceil64(known, page) + AHEAD;
            while let Some(data) = self.shm.data(at, there) {
                io.marks.set(to_pages(&data));
                at = data.end;
            }
        }
    }

    /// Makes the window show `len` bytes, and tells the others where it lies.
    pub(super) fn cover(&self, io: &mut Io, len: u64) -> Result<(), Errno> {
        io.window.cover(&self.shm, len)?;
        if let Some(control) = &mut io.control {
            control.set_window(io.window.addr..io.window.addr + io.window.len);
        }
        Ok(())
    }

    /// Takes this process out of the control block, when nothing is mapped and nothing is left to write. Whether it was
    /// in it.
    pub(crate) fn leave(&self) -> bool {
        let _blocked = Blocked::new();
        let mut io = self.io.lock();
        let was_in = io.control.is_some();
        if let (Some(control), Some(dir)) = (io.control.take(), &self.dir) {
            control.leave(dir);
        }
        if let Some(presence) = io.presence.take() {
            presence.end();
        }
        was_in || self.dir.is_none()
    }

    /// Says that this process has a writable map, and may store what nobody else knows of.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn set_owes(&self, owes: bool) -> Result<(), Errno> {
        self.io.lock().control.as_mut().map_or(Ok(()), |control| control.set_owes(owes, self.compare))
    }

    /// For a visitor: whether the image is there in whole, and looked at.
    pub(crate) fn is_ready(&self) -> bool {
        self.readiness() == Readiness::Ready
    }

    /// What an image is to a visitor. If it is ready, it is looked at.
    pub(crate) fn readiness(&self) -> Readiness {
        let Some(mut io) = self.lock_current() else { return Readiness::Gone };
        if io.record().is_none_or(|record| record.stage != Stage::Ready) {
            return Readiness::NotYet;
        }
        if !io.loaded {
            io.loaded = true;
            self.catch_up(&mut io);
        }
        Readiness::Ready
    }
}

impl Io {
    /// The record of the control block, if there is one.
    pub(super) fn record(&self) -> Option<Record> {
        self.control.as_ref().map(super::Control::record)
    }

    /// Says that the file is being changed: should this process die now, nobody can tell whose change it was.
    /// `ours`: it gets what the image has, so that afterwards they are no less one than before.
    pub(crate) fn begin_changing(&mut self, ours: bool) {
        self.foreign = self.is_foreign();
        let ours = ours && !self.foreign;
        if let Some(control) = &mut self.control {
            let record = control.record();
            // Those who compare must know that somebody else writes.
            let shared = record.shared || control.is_visitor();
            // It cannot grow, so that there is room for it. Should it fail all the same, a recovery finds a conflict.
            // If it is not as it was left already, that has to be known should this process die: its stamp tells.
            let _ = control.write(Record { busy: !self.foreign, ours, shared, ..record });
        }
    }

    /// Writes buffers once more, from byte `at` of the file on. What fails is as it was before.
    ///
    /// # Safety
    /// As [`Space::after_unseen_change`](crate::posix::Space::after_unseen_change).
    pub(crate) unsafe fn write_again(&self, mut at: u64, buffers: &[(usize, usize)]) {
        for &(addr, len) in buffers {
            let mut run = Run { from: addr as *const u8, len, off: at, done: 0, error: None };
            // SAFETY: the caller's word; only a call reads it.
            unsafe { run.write_rest(self.store()) };
            at += len as u64;
        }
    }

    /// Ends [`Io::begin_changing`]: file and image are one again, but for changes that are tracked. What outsiders had
    /// changed before is not: the stamp goes on telling of that.
    pub(crate) fn end_changing(&mut self) {
        let record = self.record().unwrap_or_default();
        let stamp = if self.foreign { Ok(record.stamp) } else { self.store().stamp() };
        self.set_stamp(stamp.unwrap_or(Stamp::UNKNOWN));
    }

    /// Says that the file was looked at as it is now.
    pub(crate) fn has_caught_up(&mut self, stamp: Stamp) {
        self.set_stamp(stamp);
    }

    /// Says that the image lacks what the file has: it is read, and never written over unasked, until they are one again.
    pub(crate) fn has_fallen_behind(&mut self) {
        self.set_stamp(Stamp::UNKNOWN);
    }

    fn set_stamp(&mut self, stamp: Stamp) {
        if let Some(control) = &mut self.control {
            let _ = control.write(Record { busy: false, stamp, ..control.record() });
        }
    }

    /// Whether others than the processes that share the image have changed the file.
    pub(crate) fn is_foreign(&self) -> bool {
        match (self.record(), self.store().stamp()) {
            (Some(record), Ok(stamp)) => !record.busy && record.stamp != stamp,
            _ => false,
        }
    }

    /// Whether the file can be written through a handle of ours: one is opened for it if none of the program's
    /// descriptors gave us one.
    pub(super) fn may_write(&mut self) -> bool {
        if !self.store().is_writable() {
            self.writer = self.first.reopened_to_write().ok();
        }
        self.store().is_writable()
    }

    /// The length of the file in its store, now.
    pub(crate) fn store_len(&self) -> Result<u64, Errno> {
        self.store().len()
    }

    /// Makes the file longer, which nothing but [`Image::settle`] by force does. Its stamp then.
    pub(super) fn grow_store(&self, len: u64) -> Result<Stamp, Errno> {
        os::file::with_file_size(len, || self.store().set_len(len))?;
        self.store().stamp()
    }

    /// Length and time of the file, now.
    pub(crate) fn stamp(&self) -> Result<Stamp, Errno> {
        self.store().stamp()
    }
}
