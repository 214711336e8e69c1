//! Where maps can be put: whole granules for views, pages of what we reserved for private memory.

use super::reservation::{self, Kind, Region};
use super::section::Object;
use super::space::{AddressSpace, Request};
use super::{GRANULE, mem};
use crate::page::{self, common};
use crate::sys::Errno;
use core::ops::Range;
use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_FREE};

impl AddressSpace {
    /// Memory of one process alone is where it is: its one map shows it there.
    pub(super) fn place_alone(
        &self,
        request: &Request,
        object: &Object,
        off: u64,
        len: usize,
    ) -> Result<usize, Errno> {
        let addr = object.content() + usize::try_from(off).map_err(|_| Errno::NOMEM)?;
        let fixed = request.flags & mem::MAP_FIXED != 0;
        if fixed && request.addr != addr || self.pages.overlaps(&(addr..addr + len)) {
            return Err(Errno::NOTSUP);
        }
        if off + len as u64 > object.capacity() { Err(Errno::NOMEM) } else { Ok(addr) }
    }

    /// The range that a request asks for by `MAP_FIXED`.
    pub(super) fn wanted(&self, request: &Request) -> Result<Option<Range<usize>>, Errno> {
        if request.flags & (mem::MAP_FIXED | mem::MAP_FIXED_NOREPLACE) == 0 {
            return Ok(None);
        }
        let len = page::ceil(request.len, super::PAGE).ok_or(Errno::NOMEM)?;
        let end = request.addr.checked_add(len).ok_or(Errno::NOMEM)?;
        if request.addr < GRANULE {
            return Err(Errno::PERM);
        }
        let range = request.addr..end;
        if request.flags & mem::MAP_FIXED_NOREPLACE != 0
            && (self.pages.overlaps(&range) || !self.is_free(&range))
        {
            return Err(Errno::EXIST);
        }
        Ok(Some(range))
    }

    /// Whether nobody but us has anything in a range.
    pub(super) fn is_free(&self, range: &Range<usize>) -> bool {
        let mut at = range.start;
        for region in self.regions_in(range) {
            if at < region.range.start && !reservation::all_in_state(&(at..region.range.start), MEM_FREE) {
                return false;
            }
            at = region.range.end;
        }
        at >= range.end || reservation::all_in_state(&(at..range.end), MEM_FREE)
    }

    /// Whether private pages can be put at a range: not into a view of which something else is left, nor over what
    /// others allocated.
    pub(super) fn check_private_room(&self, range: &Range<usize>) -> Result<(), Errno> {
        let stuck = |region: &Region| match region.kind {
            Kind::Private => false,
            Kind::View => self.has_pages_outside(&region.range, range),
            Kind::Lent => true,
        };
        let all = reservation::granules(range);
        if self.regions_in(&all).any(stuck) || !self.is_free(&all) { Err(Errno::NOTSUP) } else { Ok(()) }
    }

    /// Whether a view can be put at a range: it needs whole granules.
    pub(super) fn check_shared_room(&self, range: &Range<usize>) -> Result<(), Errno> {
        let all = reservation::granules(range);
        let stuck = |region: &Region| match region.kind {
            // What is reserved around it and has no memory can be reserved anew.
            Kind::Private => {
                self.has_pages_outside(&common(&region.range, &all), range)
                    || self.has_memory_outside(&region.range, &all)
            }
            Kind::View => self.has_pages_outside(&region.range, range),
            Kind::Lent => true,
        };
        if self.regions_in(&all).any(stuck) || !self.is_free(&all) { Err(Errno::NOTSUP) } else { Ok(()) }
    }

    pub(super) fn has_pages_outside(&self, region: &Range<usize>, range: &Range<usize>) -> bool {
        let before = region.start..range.start.clamp(region.start, region.end);
        let after = range.end.clamp(region.start, region.end)..region.end;
        [before, after].iter().any(|part| !part.is_empty() && self.pages.overlaps(part))
    }

    pub(super) fn has_memory_outside(&self, region: &Range<usize>, range: &Range<usize>) -> bool {
        let mut at = region.start;
        while at < region.end {
            let Some((state, end)) = reservation::query(at) else { return true };
            let stretch = at..end.min(region.end);
            let within = stretch.start >= range.start && stretch.end <= range.end;
            if state == MEM_COMMIT && !within {
                return true;
            }
            at = stretch.end;
        }
        false
    }

    /// Reserves what of the granules around a range is nobody's.
    pub(super) fn reserve_missing(&mut self, range: &Range<usize>) -> Result<(), Errno> {
        let all = reservation::granules(range);
        let mut missing = Vec::new();
        let mut at = all.start;
        for region in self.regions_in(&all) {
            if at < region.range.start {
                missing.push(at..region.range.start);
            }
            at = region.range.end;
        }
        if at < all.end {
            missing.push(at..all.end);
        }
        missing.into_iter().try_for_each(|gap| {
            let region = Region::reserve(gap.start, gap.len())?;
            self.add_region(region);
            Ok(())
        })
    }

    /// Where regions hold no memory at all, makes granules of them regions of their own: their neighbours can then be
    /// given back one by one.
    pub(super) fn set_apart(&mut self, granules: &Range<usize>) -> Result<(), Errno> {
        let none = granules.start..granules.start;
        let empty =
            |region: &Region| region.kind == Kind::Private && !self.has_memory_outside(&region.range, &none);
        if self.regions_in(granules).all(empty) {
            // SAFETY: nothing there has memory.
            unsafe { self.give_up(granules) }?;
        }
        Ok(())
    }

    /// Gives granules back to the system in which nothing is mapped, and reserves anew what is around them.
    ///
    /// # Safety
    /// The regions there hold nothing outside of the granules that has memory.
    pub(super) unsafe fn give_up(&mut self, granules: &Range<usize>) -> Result<(), Errno> {
        let starts: Vec<usize> = self.regions_in(granules).map(|r| r.range.start).collect();
        for start in starts {
            let Some(region) = self.regions.remove(&start) else { continue };
            let old = region.range.clone();
            // SAFETY: the caller's word.
            unsafe { region.release() };
            for around in [old.start..granules.start, granules.end..old.end] {
                if !around.is_empty() {
                    let region = Region::reserve(around.start, around.len())?;
                    self.add_region(region);
                }
            }
        }
        Ok(())
    }
}
