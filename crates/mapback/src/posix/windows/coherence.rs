//! Keeping a file's image and the file as one. On Windows nobody tells us of the program's other calls: the length is
//! looked at by `mmap` and `msync`, the content by `MS_INVALIDATE`.

use super::state::State;
use super::{Space, both};
use crate::image::{Image, Next};
use crate::page;
use crate::sys::Errno;
use crate::sys::os;
use core::ops::Range;
use std::sync::Arc;

impl Space {
    /// Writes everything back for the last time: this process's maps are at their end.
    pub fn finish_all(&self) {
        self.flush_all();
        for image in self.enter().images.values() {
            image.leave();
        }
    }

    /// Follows a file that became longer or shorter.
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
