//! `mremap`.

use super::state::{Part, State};
use super::{Space, joined, span};
use crate::page::common;
use crate::sys::Errno;
use crate::sys::os;
use crate::sys::os::mem::{self, MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE};
use core::ops::Range;

/// The arguments of `mremap`, as the program gave them.
#[derive(Clone, Copy, Debug)]
pub struct Remap {
    /// The old address.
    pub old: usize,
    /// The old length in bytes.
    pub old_len: usize,
    /// The new length in bytes.
    pub new_len: usize,
    /// `MREMAP_*`.
    pub flags: i32,
    /// The new address, with `MREMAP_FIXED`, or a hint.
    pub new: usize,
}

impl Remap {
    unsafe fn ask(self) -> Result<usize, Errno> {
        // SAFETY: passed on.
        unsafe { mem::mremap(self.old, self.old_len, self.new_len, self.flags, self.new) }
    }
}

impl Space {
    /// `mremap`.
    ///
    /// # Safety
    /// As `mremap`: the old range is gone afterwards, and with `MREMAP_FIXED` what was at the new address too.
    ///
    /// # Errors
    /// Those of `mremap`.
    pub unsafe fn mremap(&self, call: Remap) -> Result<usize, Errno> {
        // A length that the kernel rounds up past the top is 0 to it, and doubles the map.
        let wraps = crate::page::ceil(call.old_len, os::page_size()).is_none();
        let call = if wraps { Remap { old_len: 0, ..call } } else { call };
        let source = span(call.old, call.old_len.max(1)).filter(|_| self.has_maps());
        let Some(source) = source else {
            // SAFETY: the caller's own request.
            return unsafe { call.ask() };
        };
        let fixed = call.flags & MREMAP_FIXED != 0;
        let target = if fixed { span(call.new, call.new_len) } else { None };
        let concerned = {
            let state = self.enter();
            state.maps.overlaps(&source) || target.as_ref().is_some_and(|t| state.maps.overlaps(t))
        };
        let known = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
        let unsound = call.flags & !known != 0 || call.new_len == 0 || call.new_len > mem::USER_SPACE;
        if !concerned || unsound {
            // SAFETY: as above; what the kernel refuses for its arguments it does not touch.
            return unsafe { call.ask() };
        }
        let moves = fixed || call.flags & MREMAP_DONTUNMAP != 0;
        let (old, new) = (span(call.old, call.old_len), span(call.old, call.new_len));
        match (old, new) {
            (Some(old), Some(new)) if !moves && new.len() == old.len() => {
                // SAFETY: as above; nothing changes.
                unsafe { call.ask() }
            }
            (Some(old), Some(new)) if !moves && new.len() < old.len() => {
                // SAFETY: the caller gives up the tail.
                unsafe { self.shrink(call, new.end..old.end) }
            }
            // SAFETY: as above.
            _ => unsafe { self.grow_or_move(call, source, target) },
        }
    }

    /// The kernel cuts the tail off; its changes are kept.
    unsafe fn shrink(&self, call: Remap, tail: Range<usize>) -> Result<usize, Errno> {
        self.replacing(tail.clone(), |state| {
            // SAFETY: the caller's own request.
            let addr = unsafe { call.ask() }?;
            state.maps.remove(&tail);
            Ok(addr)
        })
    }

    unsafe fn grow_or_move(
        &self,
        call: Remap,
        source: Range<usize>,
        target: Option<Range<usize>>,
    ) -> Result<usize, Errno> {
        if call.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) == 0 && call.old_len != 0 {
            // SAFETY: the caller's own request, but for the leave to move.
            if let Some(addr) = unsafe { self.grow_in_place(call, &source) } {
                return Ok(addr);
            }
            let sound = span(call.old, call.new_len).is_some();
            if call.flags & MREMAP_MAYMOVE == 0 && sound && self.is_whole(&source) {
                // There is something in the way; nothing was touched.
                return Err(Errno::NOMEM);
            }
        }
        let pending;
        let moved = {
            let mut state = self.enter();
            let parts = state.maps.overlapping(&source);
            let under = target.as_ref().map(|t| state.maps.overlapping(t)).unwrap_or_default();
            // What the map will show besides: other threads may store into it before the call returns.
            let grown = call.new_len.saturating_sub(call.old_len);
            for (range, map) in parts.iter().filter(|(_, map)| map.tracker.is_some()) {
                map.image.begin_comparing(&map.bytes(&(range.start..range.end.saturating_add(grown))))?;
            }
            state.retire(&parts, false);
            state.retire(&under, true);
            // Retiring protected what the file backs. The kernel moves only what is one map to it, so the rest
            // follows.
            for (range, map) in parts.iter().filter(|(_, map)| map.tracker.is_some()) {
                let rest = State::tracked(range, map).end.max(range.start)..range.end;
                // SAFETY: a part of a map of ours; `arrived` or `restore` gives it its protection again.
                let _ = unsafe { mem::protect(rest, 0) };
            }
            // SAFETY: the caller's own request. Other threads' stores to the old range end here, as with the
            // kernel's; what they stored before was collected.
            let moved = unsafe { call.ask() };
            let concerned = under.iter().chain(&parts);
            pending = joined(concerned.map(|(range, map)| (map.image.clone(), map.bytes(range))));
            match moved {
                Ok(addr) => arrived(&mut state, call, addr, &source, &parts),
                Err(_) => {
                    state.restore(&under);
                    state.restore(&parts);
                }
            }
            moved
        };
        self.finish(pending);
        moved
    }

    /// Whether a range is one shared map of ours.
    fn is_whole(&self, source: &Range<usize>) -> bool {
        let parts = self.enter().maps.overlapping(source);
        matches!(parts.as_slice(), [(range, map)] if range == source && map.shared)
    }

    /// Grows a shared map without moving it, by mapping what is added next to it: other threads go on using the rest,
    /// which a tracker may have cut into many maps. `None`: it could not be done so.
    unsafe fn grow_in_place(&self, call: Remap, source: &Range<usize>) -> Option<usize> {
        let mut state = self.enter();
        let parts = state.maps.overlapping(source);
        let [(range, map)] = parts.as_slice() else { return None };
        let added = source.end..span(call.old, call.new_len)?.end;
        if range != source || !map.shared || added.is_empty() {
            return None;
        }
        let off = map.bytes(&added).start as i64;
        let flags = mem::MAP_SHARED | mem::MAP_FIXED | mem::MAP_FIXED_NOREPLACE;
        if map.tracker.is_some() {
            map.image.begin_comparing(&map.bytes(&added)).ok()?;
        }
        // SAFETY: nothing that exists is replaced.
        unsafe { map.image.shm.map(added.start, added.len(), map.prot, flags, off) }.ok()?;
        // The kernel tells of locked pages in this way, and does nothing else with memory of ours.
        if mem::msync(source.start, source.len(), mem::MS_INVALIDATE) == Err(Errno::BUSY) {
            mem::lock(&added);
        }
        if state.enter_part(added.clone(), map.clone()).is_err() {
            // SAFETY: the part that was just added, which nobody knows of yet.
            let _ = unsafe { mem::munmap(added.start, added.len()) };
            return None;
        }
        Some(call.old)
    }
}

/// Enters what the kernel moved (or duplicated, with an old length of 0) at its new place.
fn arrived(state: &mut State, call: Remap, addr: usize, source: &Range<usize>, parts: &[Part]) {
    let Some(target) = span(addr, call.new_len) else { return };
    let keeps = call.old_len == 0 || call.flags & MREMAP_DONTUNMAP != 0;
    state.maps.remove(&target);
    if !keeps {
        state.maps.remove(source);
    }
    let shift = addr.wrapping_sub(call.old);
    for (nth, (range, map)) in parts.iter().enumerate() {
        let start = range.start.wrapping_add(shift);
        // The last part takes what was added at the end.
        let end = if nth + 1 == parts.len() { target.end } else { range.end.wrapping_add(shift) };
        let new = common(&(start..end), &target);
        let mut map = map.clone();
        map.delta = map.delta.wrapping_sub(shift as u64);
        if new.is_empty() {
            continue;
        }
        if map.tracker.is_some() {
            // The move carried the protection of a retired map along.
            // SAFETY: just mapped here, and known to nobody before this call returns.
            let _ = unsafe { mem::protect(new.clone(), map.prot) };
        }
        if state.enter_part(new.clone(), map.clone()).is_err() {
            map.tracker = Some(crate::track::TrackerKind::Whole);
            state.maps.insert(new, map);
        }
    }
    if keeps {
        state.restore(parts);
    }
}
