//! `mprotect`: what the program desires is kept per page, apart from what the tracker needs.

use super::state::State;
use super::table::Map;
use super::{Space, joined, span};
use crate::sys::Errno;
use crate::sys::os::mem;
use crate::track::TrackerKind;
use core::ops::Range;

/// The protections that the kernel knows on every processor.
const KNOWN: i32 = 0x1 | 0x2 | 0x4 | 0x8;

impl Space {
    /// `mprotect`.
    ///
    /// # Safety
    /// As `mprotect`: the program must bear the faults that it asks for.
    ///
    /// # Errors
    /// Those of `mprotect`; as with the kernel's, parts before the one that failed are changed.
    pub unsafe fn mprotect(&self, addr: usize, len: usize, prot: i32) -> Result<(), Errno> {
        // SAFETY: the caller's own request.
        let ask = |part: &Range<usize>| unsafe { mem::mprotect(part.start, part.len(), prot) };
        let all = || {
            // SAFETY: as above; arguments that are at fault go on as they came.
            unsafe { mem::mprotect(addr, len, prot) }
        };
        let whole = span(addr, len).filter(|_| self.has_maps() && prot & !KNOWN == 0);
        let Some(range) = whole else { return all() };
        if prot & mem::PROT_WRITE == 0 {
            self.tell_neighbours(&range);
        }
        let mut state = self.enter();
        let mut parts: Vec<(Range<usize>, Option<Map>)> =
            state.maps.overlapping(&range).into_iter().map(|(r, m)| (r, Some(m))).collect();
        parts.extend(state.maps.gaps(&range).into_iter().map(|gap| (gap, None)));
        parts.sort_by_key(|(part, _)| part.start);
        for (part, map) in parts {
            match map {
                Some(map) => state.protect(part, map, prot)?,
                None => ask(&part)?,
            }
        }
        Ok(())
    }

    /// Writes back what is about to become unwritable: under `fault`, nobody else can see that it was changed.
    fn tell_neighbours(&self, range: &Range<usize>) {
        let pending = {
            let mut state = self.enter();
            let parts = state.maps.overlapping(range);
            let hidden = |map: &Map| map.tracker == Some(TrackerKind::Fault) && map.image.is_shared();
            let parts = parts.into_iter().filter(|(_, map)| map.prot & mem::PROT_WRITE != 0 && hidden(map));
            let parts = joined(parts.map(|(part, map)| (map.image.clone(), map.bytes(&part))));
            for (image, bytes) in &parts {
                state.collect(image, bytes);
            }
            parts
        };
        self.finish(pending);
    }
}

impl State {
    /// Changes the desired protection of a part of one map.
    fn protect(&mut self, range: Range<usize>, mut map: Map, prot: i32) -> Result<(), Errno> {
        if prot & (mem::PROT_READ | mem::PROT_WRITE | mem::PROT_EXEC) & !map.allowed != 0 {
            return Err(Errno::ACCESS);
        }
        let was = core::mem::replace(&mut map.prot, prot);
        match map.tracker {
            Some(kind) => self.trackers.protect(kind, &Self::tracked(&range, &map), prot)?,
            None if map.shared && prot & mem::PROT_WRITE != 0 => {
                if let Err(errno) = self.arm(&range, &mut map) {
                    // SAFETY: a part of a map of ours, back to what it was.
                    let _ = unsafe { mem::protect(range, was) };
                    return Err(errno);
                }
            }
            None => {}
        }
        let bare = Self::tracked(&range, &map).end.max(range.start)..range.end;
        // SAFETY: a part of a map of ours that no tracker watches.
        unsafe { mem::protect(bare, prot) }?;
        self.maps.insert(range, map);
        Ok(())
    }
}
