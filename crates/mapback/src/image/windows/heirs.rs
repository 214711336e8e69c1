//! What a process leaves behind that was killed: its changes are in the image, of which another process still has a
//! map, and nobody knows which pages they are.

use super::{Image, Io, to_pages};
use crate::store::read_range;
use crate::sys::Errno;
use crate::sys::os;

impl Image {
    /// Takes over the changes of processes that ended without writing them back: whatever differs from the file is
    /// marked. The notes of the dead are returned, to be forgotten once all is written.
    pub(super) fn inherit(&self, io: &mut Io) -> Vec<u64> {
        if !io.loaded || !io.store().is_writable() {
            return Vec::new();
        }
        let dead = self.section.dead();
        if !dead.is_empty() && self.mark_differing(io).is_err() {
            // What cannot be read cannot be compared: all of it counts as changed.
            io.marks.set(to_pages(&(0..self.len())));
        }
        dead
    }

    /// Marks each page whose content is not what the store has.
    fn mark_differing(&self, io: &mut Io) -> Result<(), Errno> {
        const CHUNK: u64 = 1 << 20;
        let page = os::page_size();
        let end = io.store().len()?.min(self.len());
        let mut stored = vec![0u8; CHUNK.min(end) as usize];
        let mut now = vec![0u8; page];
        let mut at = 0;
        while at < end {
            let part = at..end.min(at + CHUNK);
            // SAFETY: `stored` is as long as any part.
            let read = unsafe { read_range(io.store(), stored.as_mut_ptr(), part.clone()) }? as usize;
            for (nth, was) in stored[..read].chunks(page).enumerate() {
                let from = at + (nth * page) as u64;
                // SAFETY: inside the library's view; a page that changes meanwhile is noted by its own process.
                unsafe { core::ptr::copy_nonoverlapping(self.section.at(from), now.as_mut_ptr(), was.len()) };
                if now[..was.len()] != *was {
                    io.marks.set(to_pages(&(from..from + 1)));
                }
            }
            at = part.end;
        }
        Ok(())
    }

    /// This process ends, or lets go of the image, and owes it nothing. One that still has changes which could not be
    /// written stays noted, so that another process finds them.
    pub(crate) fn leave(&self) {
        if self.is_clean() {
            self.section.leave();
        }
    }
}
