//! Keeping a file's image and the file as one, when the program uses the file by other calls (L2, L3, L6).
//!
//! The interposer calls these around the program's own call. Each holds the space's lock over the kernel's call,
//! so that no write-back can put older bytes over newer ones. They are reached only when some file has an image.

use super::state::State;
use super::{Space, both};
use crate::image::{Image, Next};
use crate::page;
use crate::sys::Errno;
use crate::sys::os::{
    self, fd,
    file::{self, FileId},
};
use core::ops::Range;
use std::sync::Arc;

/// What a call did to the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It wrote these bytes.
    Wrote(Range<u64>),
    /// It changed the length, or anything else.
    All,
    /// Nothing.
    Nothing,
}

impl Space {
    /// The image of an open file.
    pub(super) fn image_of(&self, number: i32) -> Option<Arc<Image>> {
        if !self.has_images() {
            return None;
        }
        let fd = fd::borrow(number).ok()?;
        let facts = file::facts(fd).ok()?;
        let alike = |id: &FileId| (id.dev, id.ino) == (facts.dev, facts.ino);
        // Most descriptors are told from all images by this; the whole identity takes more calls.
        if !facts.regular || !self.enter().images.keys().any(alike) {
            return None;
        }
        let id = file::identity(fd).ok()?;
        self.enter().images.get(&id).cloned()
    }

    /// Before the program reads the file behind a descriptor: writes the changes back, so that the file has them.
    ///
    /// # Errors
    /// Those of the write-back.
    pub fn before_read(&self, number: i32) -> Result<(), Errno> {
        self.image_of(number).map_or(Ok(()), |image| self.write_back(&image, Next::Nothing))
    }

    fn write_back(&self, image: &Arc<Image>, next: Next) -> Result<(), Errno> {
        self.enter().collect(image, &(0..image.len()));
        let _blocked = os::signal::Blocked::new();
        image.write_back(0..image.len(), next).map_err(|e| e.errno)
    }

    /// Before `fsync` and its like.
    ///
    /// # Errors
    /// Those of the write-back.
    pub fn before_sync(&self, number: i32) -> Result<(), Errno> {
        self.image_of(number).map_or(Ok(()), |image| self.write_back(&image, Next::Sync))
    }

    /// Whether a call on this descriptor has to go through [`Space::changing`].
    pub fn has_image(&self, number: i32) -> bool {
        self.image_of(number).is_some()
    }

    /// Runs a call of the program's that changes the file behind a descriptor, and takes the change over into the
    /// image. The call's own result says what it changed.
    ///
    /// # Errors
    /// Those of the write-back that has to come before; those of `call` are its own matter.
    pub fn changing<T>(&self, number: i32, call: impl FnOnce() -> (T, Change)) -> Result<T, Errno> {
        let Some(image) = self.image_of(number) else { return Ok(call().0) };
        let mut state = self.enter();
        state.collect(&image, &(0..image.len()));
        // What cannot be written back stays marked; the program's own call may be what makes room for it.
        let before = image.write_back(0..image.len(), Next::Nothing);
        let (value, change) = call();
        let len = image.store_len()?;
        let old = image.len();
        if len != old || len != image.shared_len() {
            state.resize(&image, len)?;
        }
        match change {
            Change::Nothing => {}
            Change::Wrote(bytes) => image.take_over(bytes.start..bytes.end.min(old))?,
            Change::All => {
                before.map_err(|e| e.errno)?;
                refresh_in(&mut state, &image, 0..old.min(len))?;
            }
        }
        Ok(value)
    }

    /// Follows a file that became longer or shorter by other means than this process's calls.
    pub(super) fn follow(&self, image: &Arc<Image>) -> Result<(), Errno> {
        let mut state = self.enter();
        let len = image.store_len()?;
        let same = len == image.len() && len == image.shared_len();
        if same { Ok(()) } else { state.resize(image, len) }
    }

    /// Takes over what others wrote into a range of the file, except where this process changed it (P24).
    pub(super) fn refresh(&self, image: &Arc<Image>, bytes: &Range<u64>) -> Result<(), Errno> {
        let followed = self.follow(image);
        let mut state = self.enter();
        state.collect(image, bytes);
        image.write_back(bytes.clone(), Next::Nothing).map_err(|e| e.errno)?;
        both(followed, refresh_in(&mut state, image, bytes.clone()))
    }

    /// Punches a hole into the file and its image (`MADV_REMOVE`).
    pub(super) fn punch(&self, image: &Arc<Image>, bytes: Range<u64>) -> Result<(), Errno> {
        let mut state = self.enter();
        state.collect(image, &bytes);
        image.punch(bytes)
    }
}

/// Takes over what the file holds now, except in pages that this process changed meanwhile.
fn refresh_in(state: &mut State, image: &Arc<Image>, bytes: Range<u64>) -> Result<(), Errno> {
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
