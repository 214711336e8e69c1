//! What a program wrote to a file by a call that began before there was an image of it, and ended when there was one.
//!
//! Whoever made the image may have read the file before the bytes came, and may have written that back over them.

use super::Image;
use super::lock::Locked;
use crate::store::read_range;
use crate::sys::os;
use core::ops::Range;

/// The longest call that is looked at.
const MOST: usize = 16 << 20;

impl Image {
    /// Whether a write-back of the memory went over what was just written to a range of the file: it has what the memory
    /// has, page by page, wherever it has not what `buffers` hold. Else nothing was lost, or they went to another place.
    pub(crate) fn went_over(&self, io: &Locked<'_>, bytes: &Range<u64>, buffers: &[(usize, usize)]) -> bool {
        let neighbours = io.control.as_ref().map(super::Control::neighbours).unwrap_or_default();
        let others = neighbours.live.iter().chain(neighbours.dead.iter().map(|(_, slot)| slot));
        // Else nobody writes back.
        if self.mapped.load(core::sync::atomic::Ordering::Relaxed) == 0
            && !others.into_iter().any(|slot| slot.owes)
        {
            return false;
        }
        let Some(written) = os::mem::gathered(buffers, MOST) else { return false };
        if bytes.end - bytes.start != written.len() as u64 {
            return false;
        }
        let (mut file, mut memory) = (vec![0; written.len()], vec![0; written.len()]);
        // SAFETY: as long as the range.
        let read = unsafe { read_range(io.store(), file.as_mut_ptr(), bytes.clone()) };
        let seen = self.shm.read(&mut memory, bytes.start);
        if read != Ok(written.len() as u64) || seen != Ok(written.len()) {
            return false;
        }
        let page = os::page_size();
        let mut over = false;
        let mut at = 0;
        while at < written.len() {
            let end = written.len().min(at + page - (bytes.start as usize + at) % page);
            if file[at..end] != written[at..end] {
                if file[at..end] != memory[at..end] {
                    return false;
                }
                over = true;
            }
            at = end;
        }
        over
    }
}
