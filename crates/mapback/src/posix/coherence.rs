//! Keeping a file's image and the file as one, when the program uses the file by other calls (L2, L3, L6).
//!
//! The interposer calls these around the program's own call. Each holds the space's lock over the kernel's call,
//! so that no write-back can put older bytes over newer ones. They are reached only when some file has an image.

use super::state::State;
use super::{Space, both, registry};
use crate::image::{Image, Locked, Next};
use crate::page;
use crate::sys::Errno;
use crate::sys::os::{
    self, fd,
    file::{self, FileId},
};
use core::ops::Range;
use rustix::fs::{OFlags, SeekFrom};
use std::sync::Arc;

/// What a call did to the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It wrote these bytes.
    Wrote(Range<u64>),
    /// It changed nobody knows what.
    Unknown,
    /// It changed the length at the most.
    Nothing,
}

/// What a call wrote that began before there was an image, and may have to be written once more: buffers, each by address
/// and length.
#[derive(Clone, Copy, Debug)]
pub enum Again<'b> {
    /// It is not known any more.
    No,
    /// It went just where it is thought to have gone.
    There(&'b [(usize, usize)]),
    /// It went to the file offset, which somebody with the same open file may have moved since: nobody knows where it is.
    Somewhere,
}

/// What has to be known of a call before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It writes bytes, or changes the length.
    Writes,
    /// It moves what the file holds to other places (`FALLOC_FL_COLLAPSE_RANGE`).
    Moves,
}

impl Space {
    /// The image of an open file.
    pub(super) fn image_of(&self, number: i32) -> Option<Arc<Image>> {
        if !registry::may_have_image(number) {
            return None;
        }
        let look = registry::Look::new(number);
        let fd = fd::borrow(number).ok()?;
        let facts = file::facts(fd).ok()?;
        if !facts.regular {
            return None;
        }
        let alike = |id: &FileId| (id.dev, id.ino) == (facts.dev, facts.ino);
        let dir = self.dir();
        // Most descriptors are told from all images by this; the whole identity takes more calls.
        if dir.is_none() && !self.enter().images.keys().any(alike) {
            return None;
        }
        let id = file::identity(fd).ok()?;
        let mut state = self.enter();
        let writable = file::flags(fd).is_ok_and(|f| f & OFlags::RWMODE != OFlags::RDONLY);
        if let Some(image) = state.images.get(&id) {
            return Some(image.clone());
        }
        if let Some(image) = state.visited.get(&id).cloned() {
            if image.is_ready() {
                // Without it, what is to be written finds a way of its own, or none.
                let _ = image.adopt(fd, writable);
                return Some(image);
            }
            state.visited.remove(&id);
        }
        if self.is_foreign() {
            // A `vfork` child: descriptors that it opens are not its parent's.
            return None;
        }
        let Some(image) = Image::visit(id, fd, writable, &dir?).ok()? else {
            look.found_none();
            return None;
        };
        let image = Arc::new(image);
        state.visited.insert(id, image.clone());
        Some(image)
    }

    /// Before the program has the file behind a descriptor copied by the kernel: writes the changes of all processes
    /// back, so that the file has them.
    ///
    /// # Errors
    /// Those of the write-back.
    pub fn before_read(&self, number: i32) -> Result<(), Errno> {
        self.image_of(number).map_or(Ok(()), |image| self.write_back(&image, Next::Nothing))
    }

    fn write_back(&self, image: &Arc<Image>, next: Next) -> Result<(), Errno> {
        self.enter().collect(image, &(0..u64::MAX));
        image.gather(&(0..u64::MAX));
        let _blocked = os::signal::Blocked::new();
        image.write_back(0..u64::MAX, next).map_err(|e| e.errno)
    }

    /// Before `fsync` and its like.
    ///
    /// # Errors
    /// Those of the write-back.
    pub fn before_sync(&self, number: i32) -> Result<(), Errno> {
        self.image_of(number).map_or(Ok(()), |image| self.write_back(&image, Next::Sync))
    }

    /// Whether a call on this descriptor has to go through [`Space::changing`] or [`Space::reading`].
    pub fn has_image(&self, number: i32) -> bool {
        self.image_of(number).is_some()
    }

    /// Runs a call of the program's that reads the file behind a descriptor, at `off` or the file offset, into buffers,
    /// and returns how many bytes it got. What the image holds is put over them: the file may not have it yet.
    ///
    /// ```compile_fail,E0133
    /// fn anywhere(space: &mapback::posix::Space, fd: i32, addr: usize) {
    ///     let _ = space.reading(fd, None, &[(addr, 8)], || Ok(8));
    /// }
    /// ```
    ///
    /// # Safety
    /// The buffers, each by address and length, must be the caller's to write to. The kernel looks at whether there is
    /// memory, and at nothing else.
    ///
    /// # Errors
    /// Those of `call`; `EFAULT`.
    pub unsafe fn reading(
        &self,
        number: i32,
        off: Option<u64>,
        buffers: &[(usize, usize)],
        call: impl FnOnce() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let Some(image) = self.image_of(number) else { return call() };
        let mut locked = image.lock();
        if locked.is_foreign() {
            drop(locked);
            self.follow(&image)?;
            locked = image.lock();
            if locked.is_foreign() {
                // The file has what the image cannot take over: it is read, with our changes in it.
                drop(locked);
                self.write_back(&image, Next::Nothing)?;
                return call();
            }
        }
        let read = call()?;
        let at = match off {
            Some(off) => off,
            // The file offset is where the call left it: who shares the descriptor waits for the same lock.
            None => rustix::fs::seek(fd::borrow(number)?, SeekFrom::Current(0))?.saturating_sub(read as u64),
        };
        // SAFETY: the caller's word.
        unsafe { image.shm.read_into(buffers, read, at) }?;
        drop(locked);
        Ok(read)
    }

    /// Runs a call of the program's that changes the file behind a descriptor, and takes the change over into the
    /// image. The call's own result says what it changed.
    ///
    /// # Errors
    /// Those of a write-back that has to come before; those of `call` are its own matter.
    pub fn changing<T>(
        &self,
        number: i32,
        kind: Kind,
        call: impl FnOnce() -> (T, Change),
    ) -> Result<T, Errno> {
        match self.changing_image(number, kind, call) {
            Ok(done) => done,
            Err(call) => {
                let (value, change) = call();
                // SAFETY: no buffers.
                unsafe { self.after_unseen_change(number, &change, Again::No) }?;
                Ok(value)
            }
        }
    }

    /// As [`Space::changing`], if the file has an image. Else the call is given back without having been made.
    ///
    /// # Errors
    /// The call; inside, as [`Space::changing`].
    pub fn changing_image<T, C: FnOnce() -> (T, Change)>(
        &self,
        number: i32,
        kind: Kind,
        call: C,
    ) -> Result<Result<T, Errno>, C> {
        while let Some(image) = self.image_of(number) {
            if kind != Kind::Writes
                && let Err(errno) = self.write_back(&image, Next::Nothing)
            {
                return Ok(Err(errno));
            }
            // No write-back of any process may put older bytes over what the call writes, nor a map miss it.
            let mut state = self.enter();
            let Some(mut locked) = state.lock_current(&image) else { continue };
            locked.begin_changing(false);
            let (value, change) = call();
            self.take_change(&mut state, &image, &mut locked, kind, &change);
            drop(locked);
            if change == Change::Unknown
                && let Err(errno) = refresh_in(&mut state, &image, 0..u64::MAX)
            {
                return Ok(Err(errno));
            }
            return Ok(Ok(value));
        }
        Err(call)
    }

    /// Ends [`Locked::begin_changing`]: takes over what a call did to the file.
    fn take_change(
        &self,
        state: &mut State,
        image: &Arc<Image>,
        locked: &mut Locked<'_>,
        kind: Kind,
        change: &Change,
    ) {
        let taken = take_change(state, image, locked, kind, change);
        locked.end_changing();
        if let Err(errno) = taken {
            locked.has_fallen_behind();
            self.report(&format!(
                "{} was written, but its image cannot hold it: {errno}. Maps do not show it before they are made anew",
                image.name.display()
            ));
        }
    }

    /// After a call that changed a file which had no image before. Somebody may have made one meanwhile, and have read
    /// the file too early. What was written is written once more, since a write-back may have put what was read over it.
    ///
    /// ```compile_fail,E0133
    /// # use mapback::posix::{Again, Change, Space};
    /// fn anything(space: &Space, fd: i32, addr: usize) {
    ///     let _ = space.after_unseen_change(fd, &Change::Wrote(0..8), Again::There(&[(addr, 8)]));
    /// }
    /// ```
    ///
    /// # Safety
    /// The buffers in `again` must be the caller's to read, and nobody may store to them meanwhile but as the program did
    /// that gave them to the kernel.
    ///
    /// # Errors
    /// Those of reading.
    pub unsafe fn after_unseen_change(
        &self,
        number: i32,
        change: &Change,
        again: Again<'_>,
    ) -> Result<(), Errno> {
        while let Some(image) = self.image_of(number) {
            let mut state = self.enter();
            let Some(mut locked) = state.lock_current(&image) else { continue };
            locked.begin_changing(false);
            let somewhere = matches!(again, Again::Somewhere);
            if let (Change::Wrote(bytes), Again::There(buffers)) = (change, again) {
                // SAFETY: the caller's word.
                unsafe { locked.write_again(bytes.start, buffers) };
            }
            let change = if somewhere { &Change::Nothing } else { change };
            self.take_change(&mut state, &image, &mut locked, Kind::Writes, change);
            drop(locked);
            drop(state);
            // Its stamp is older than the change, as if others had made it.
            let followed = self.follow(&image);
            return if somewhere { both(followed, self.refresh_all(&image)) } else { followed };
        }
        Ok(())
    }

    /// Follows a file that was changed by other means than the calls of processes that share the image.
    pub(super) fn follow(&self, image: &Arc<Image>) -> Result<(), Errno> {
        let foreign = {
            let mut state = self.enter();
            let mut locked = image.lock();
            let foreign = locked.is_foreign();
            let len = locked.store_len()?;
            if len != image.len() {
                state.resize(image, &mut locked, len)?;
            }
            foreign
        };
        if foreign { self.refresh_all(image) } else { Ok(()) }
    }

    /// Before the program's file is written by calls that nobody sees: writes back what is changed, so that only they
    /// change it further.
    ///
    /// # Errors
    /// Those of the write-back.
    pub fn before_unseen_write(&self, number: i32) -> Result<(), Errno> {
        self.before_read(number)
    }

    /// After [`Space::before_unseen_write`] and the calls: takes over what they wrote.
    ///
    /// # Errors
    /// Those of reading.
    pub fn after_unseen_write(&self, number: i32) -> Result<(), Errno> {
        self.image_of(number).map_or(Ok(()), |image| self.follow(&image))
    }

    /// Takes over what outsiders wrote, wherever no process changed it.
    fn refresh_all(&self, image: &Arc<Image>) -> Result<(), Errno> {
        let mut state = self.enter();
        state.collect(image, &(0..u64::MAX));
        image.gather(&(0..u64::MAX));
        // What is changed after this line shows as a change.
        let stamp = image.lock().stamp()?;
        if refresh_in(&mut state, image, 0..u64::MAX)? {
            image.lock().has_caught_up(stamp);
        }
        Ok(())
    }

    /// Takes over what others wrote into a range of the file, except where this process changed it (P24).
    pub(super) fn refresh(&self, image: &Arc<Image>, bytes: &Range<u64>) -> Result<(), Errno> {
        let followed = self.follow(image);
        let mut state = self.enter();
        state.collect(image, bytes);
        image.gather(bytes);
        image.write_back(bytes.clone(), Next::Nothing).map_err(|e| e.errno)?;
        both(followed, refresh_in(&mut state, image, bytes.clone()).map(drop))
    }

    /// Punches a hole into the file and its image (`MADV_REMOVE`).
    pub(super) fn punch(&self, image: &Arc<Image>, bytes: Range<u64>) -> Result<(), Errno> {
        let mut state = self.enter();
        state.collect(image, &bytes);
        image.punch(bytes)
    }
}

impl State {
    /// Locks an image, if it still is the one of its file here. As long as the space's and this lock are held, it is.
    fn lock_current<'i>(&self, image: &'i Arc<Image>) -> Option<Locked<'i>> {
        let here = self.images.get(&image.id).or_else(|| self.visited.get(&image.id));
        if here.is_some_and(|here| Arc::ptr_eq(here, image)) { image.lock_current() } else { None }
    }
}

/// Takes over what a call did to the file.
fn take_change(
    state: &mut State,
    image: &Arc<Image>,
    locked: &mut Locked<'_>,
    kind: Kind,
    change: &Change,
) -> Result<(), Errno> {
    let (len, old) = (locked.store_len()?, image.len());
    if len != old {
        state.resize(image, locked, len)?;
    }
    match change {
        Change::Wrote(bytes) if kind == Kind::Writes => {
            image.take_over(locked, bytes.start..bytes.end.min(old))
        }
        Change::Wrote(bytes) => image.take_over(locked, bytes.clone()),
        Change::Nothing | Change::Unknown => Ok(()),
    }
}

/// Takes over what the file holds now, except in pages that a process changed meanwhile; as [`Image::refresh`].
fn refresh_in(state: &mut State, image: &Arc<Image>, bytes: Range<u64>) -> Result<bool, Errno> {
    let page = os::page_size();
    let start = bytes.start / page as u64 * page as u64;
    let bytes = start..page::ceil64(bytes.end.min(image.len()), page).max(start);
    image.refresh(bytes.clone(), &mut |sink| {
        for (range, map) in state.maps.of(image) {
            let Some(kind) = map.tracker else { continue };
            let part = State::tracked(&map.showing(&range, &bytes, page), &map);
            if state.trackers.collect(kind, &part, &mut |run| sink(map.bytes(&run))).is_err() {
                sink(map.bytes(&part));
            }
        }
    })
}
