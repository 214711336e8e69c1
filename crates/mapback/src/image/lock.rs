//! The lock of what moves content between the memory and the store, across all processes that share the image.

use super::shared::{Record, Stage};
use super::{Image, Io, to_pages};
use crate::page;
use crate::store::Stamp;
use crate::sys::os;
use crate::sys::{Errno, os::signal::Blocked};
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

/// How far past the end of the file maps are tracked, in bytes.
pub(crate) const AHEAD: u64 = 4 << 20;

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
            if control.record().shared {
                self.shared.store(true, Ordering::Relaxed);
            }
        }
        if io.loaded {
            self.catch_up(&mut io);
        }
        Locked { io, _blocked: blocked }
    }

    /// Follows a change of the memory's length that another process made. Should there be no room for a larger window,
    /// the length stays as it is known, and what lies past it waits.
    fn catch_up(&self, io: &mut Io) {
        let (known, there) = (self.len(), self.shared_len());
        if known == there || self.cover(io, there).is_err() {
            return;
        }
        if let Some(pristine) = &mut io.pristine {
            if pristine.resize(there as usize).is_err() {
                return;
            }
            pristine.zero_from(there.min(known) as usize);
        }
        self.len.store(there, Ordering::Release);
        let page = os::page_size();
        if there < known {
            io.marks.clear(to_pages(&(page::ceil64(there, page)..known)));
        } else if io.store().is_writable() {
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

    /// Takes this process out of the control block, when nothing is mapped and nothing is left to write.
    pub(crate) fn leave(&self) {
        let _blocked = Blocked::new();
        let mut io = self.io.lock();
        if let (Some(control), Some(dir)) = (io.control.take(), &self.dir) {
            control.leave(dir);
        }
        if let Some(presence) = io.presence.take() {
            presence.end();
        }
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
        let mut io = self.lock();
        let (Some(control), Some(dir)) = (&io.control, &self.dir) else { return false };
        if control.record().stage != Stage::Ready || !control.is_current(dir) {
            return false;
        }
        if !io.loaded {
            io.loaded = true;
            self.catch_up(&mut io);
        }
        true
    }
}

impl Io {
    /// The record of the control block, if there is one.
    pub(super) fn record(&self) -> Option<Record> {
        self.control.as_ref().map(super::Control::record)
    }

    /// Says that the file is being changed: should this process die now, nobody can tell whose change it was.
    pub(crate) fn begin_changing(&mut self) {
        if let Some(control) = &mut self.control {
            let record = control.record();
            // Those who compare must know that somebody else writes.
            let shared = record.shared || control.is_visitor();
            // It cannot grow, so that there is room for it. Should it fail all the same, a recovery finds a conflict.
            let _ = control.write(Record { busy: true, shared, ..record });
        }
    }

    /// Ends [`Io::begin_changing`]: file and image are one again, but for changes that are tracked.
    pub(crate) fn end_changing(&mut self) {
        let Ok(stamp) = self.store().stamp() else { return };
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

    /// The length of the file in its store, now.
    pub(crate) fn store_len(&self) -> Result<u64, Errno> {
        self.store().len()
    }

    /// Length and time of the file, now.
    pub(super) fn stamp(&self) -> Result<Stamp, Errno> {
        self.store().stamp()
    }
}
