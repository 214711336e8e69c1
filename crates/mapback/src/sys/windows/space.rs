//! The address space as POSIX has it, over reservations and views of 64 KiB granules.
//!
//! Windows gives and takes address space by the granule, and a view only as a whole. The table here says which pages
//! are mapped and with which protection; what is mapped no more but cannot be given back yet is inaccessible. Where
//! a page lies past the end of its file it is inaccessible too, whatever its protection, until the file grows.

use super::reservation::{self, Kind, Region};
use super::section::Object;
use super::sync::Mutex;
use super::{GRANULE, mem, past};
use crate::page::{self, common};
use crate::sys::Errno;
use core::ops::Range;
use rangemap::RangeMap;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RESERVE};

/// The address space of this process, as far as we made it. The last lock in the order of locks.
pub(super) static SPACE: LazyLock<Mutex<AddressSpace>> = LazyLock::new(Mutex::default);

/// What stands behind a page.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// Private memory.
    Private,
    /// A page of a private map past the end of its file.
    Beyond,
    /// Shared memory; `delta` is content offset minus address, modulo 2^64.
    Shared { object: Arc<Object>, delta: u64 },
}

/// What holds for each of a stretch of mapped pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) what: What,
    pub(super) prot: i32,
    pub(super) locked: bool,
}

impl PartialEq for What {
    fn eq(&self, other: &What) -> bool {
        match (self, other) {
            (What::Private, What::Private) | (What::Beyond, What::Beyond) => true,
            (What::Shared { object: a, delta: b }, What::Shared { object: c, delta: d }) => {
                Arc::ptr_eq(a, c) && b == d
            }
            _ => false,
        }
    }
}

impl Eq for What {}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct AddressSpace {
    pub(super) regions: BTreeMap<usize, Region>,
    pub(super) pages: RangeMap<usize, Pages>,
}

impl AddressSpace {
    pub(super) fn parts(&self, range: &Range<usize>) -> Vec<(Range<usize>, Pages)> {
        let inside = self.pages.overlapping(range);
        inside.map(|(r, p)| (common(r, range), p.clone())).filter(|(r, _)| !r.is_empty()).collect()
    }

    /// Whether every page is mapped, by us or, outside all that is ours, by anybody.
    pub(super) fn is_mapped(&self, range: &Range<usize>) -> bool {
        self.pages.gaps(range).all(|gap| self.is_foreign(&gap) && reservation::all_in_state(&gap, MEM_COMMIT))
    }

    /// Whether a page is locked in memory.
    pub(super) fn is_locked(&self, range: &Range<usize>) -> bool {
        self.pages.overlapping(range).any(|(_, pages)| pages.locked)
    }

    /// Locks pages in memory, or no more.
    pub(super) fn set_locked(&mut self, range: &Range<usize>, locked: bool) -> Result<(), Errno> {
        if !self.is_mapped(range) {
            return Err(Errno::NOMEM);
        }
        for (part, mut pages) in self.parts(range) {
            if pages.locked == locked || pages.what == What::Beyond {
                continue;
            }
            self.cut(&part).iter().try_for_each(|piece| reservation::lock(piece, locked))?;
            pages.locked = locked;
            self.pages.insert(part, pages);
        }
        Ok(())
    }

    /// Whether no page of the range is in a region of ours.
    fn is_foreign(&self, range: &Range<usize>) -> bool {
        self.regions_in(range).next().is_none()
    }

    /// The regions that a range touches.
    pub(super) fn regions_in(&self, range: &Range<usize>) -> impl Iterator<Item = &Region> + use<'_> {
        let before = self.regions.range(..=range.start).next_back().map_or(range.start, |(at, _)| *at);
        let range = range.clone();
        let from = self.regions.range(before..range.end.max(before));
        from.map(|(_, r)| r).filter(move |r| r.range.start < range.end && r.range.end > range.start)
    }

    /// Does something that reads memory of one region which the program may have made inaccessible. Nobody changes a
    /// protection meanwhile.
    pub(super) fn while_readable<T>(&mut self, range: &Range<usize>, act: impl FnOnce() -> T) -> T {
        let closed = reservation::inaccessible(range);
        for part in &closed {
            // SAFETY: memory of a map of ours, which the lock on this keeps mapped. It is opened for loads only: no
            // store of another thread gets through that was forbidden.
            let _ = unsafe { reservation::protect(part, mem::PROT_READ) };
        }
        let done = act();
        for part in &closed {
            // SAFETY: as above; this is how it was.
            let _ = unsafe { reservation::protect(part, 0) };
        }
        done
    }

    /// Does something that writes memory of an image which is this process's alone. Nobody changes a protection
    /// meanwhile.
    pub(super) fn while_writable<T>(
        &mut self,
        object: &Arc<Object>,
        range: &Range<usize>,
        act: impl FnOnce() -> T,
    ) -> T {
        // SAFETY: memory of an image; the maps get their protection back.
        let _ = unsafe { reservation::commit(range, mem::PROT_READ | mem::PROT_WRITE) };
        let done = act();
        for hole in self.pages.gaps(range).collect::<Vec<_>>() {
            // SAFETY: as above; nobody maps it.
            let _ = unsafe { reservation::protect(&hole, 0) };
        }
        let _ = self.resized(object);
        done
    }

    /// A range cut where one region ends and the next begins: calls to the system must not span two.
    pub(super) fn cut(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        self.regions_in(range).map(|region| common(&region.range, range)).collect()
    }

    pub(super) fn add_region(&mut self, region: Region) {
        self.regions.insert(region.range.start, region);
    }

    /// `munmap`.
    ///
    /// # Safety
    /// Nobody may use the range afterwards.
    pub(super) unsafe fn munmap(&mut self, range: Range<usize>) -> Result<(), Errno> {
        let parts = self.parts(&range);
        for (part, pages) in &parts {
            // SAFETY: the caller's word.
            unsafe { self.clear(part, pages) };
        }
        self.pages.remove(range.clone());
        past::set(range.clone(), false)?;
        let empty =
            self.regions_in(&range).filter(|r| r.kind != Kind::Lent && !self.pages.overlaps(&r.range));
        let empty: Vec<usize> = empty.map(|r| r.range.start).collect();
        for start in empty {
            if let Some(region) = self.regions.remove(&start) {
                // SAFETY: no page of it is mapped any more, and the caller's word.
                unsafe { region.release() };
            }
        }
        Ok(())
    }

    /// Makes pages inaccessible that are mapped no more.
    unsafe fn clear(&self, part: &Range<usize>, pages: &Pages) {
        for piece in self.cut(part) {
            match &pages.what {
                // SAFETY: the caller's word.
                What::Private => unsafe { reservation::decommit(&piece) },
                What::Beyond => {}
                // SAFETY: as above.
                What::Shared { object, .. } => unsafe { deny(&piece, !object.is_alone()) },
            }
        }
    }

    /// `mprotect`.
    ///
    /// # Safety
    /// The range must be one whose protection is the caller's to change.
    pub(super) unsafe fn mprotect(&mut self, range: Range<usize>, prot: i32) -> Result<(), Errno> {
        let mut at = range.start;
        for (part, mut pages) in self.parts(&range) {
            // SAFETY: the caller's word.
            unsafe { self.protect_foreign(&(at..part.start), prot) }?;
            // SAFETY: as above.
            unsafe { self.apply(&part, &pages.what, prot) }?;
            at = part.end;
            pages.prot = prot;
            self.pages.insert(part, pages);
        }
        // SAFETY: as above.
        unsafe { self.protect_foreign(&(at..range.end), prot) }
    }

    /// Memory that somebody else allocated may be protected too, as on other systems.
    unsafe fn protect_foreign(&self, gap: &Range<usize>, prot: i32) -> Result<(), Errno> {
        if gap.is_empty() {
            return Ok(());
        }
        if !self.is_foreign(gap) || !reservation::all_in_state(gap, MEM_COMMIT) {
            return Err(Errno::NOMEM);
        }
        let mut at = gap.start;
        while at < gap.end {
            let end = reservation::query(at).map_or(gap.end, |(_, end)| end.min(gap.end));
            // SAFETY: the caller's word.
            unsafe { reservation::protect(&(at..end), prot) }?;
            at = end;
        }
        Ok(())
    }

    /// Sets the actual protection of pages, as far as they have memory.
    unsafe fn apply(&self, part: &Range<usize>, what: &What, prot: i32) -> Result<(), Errno> {
        match what {
            What::Beyond => Ok(()),
            What::Private if prot & 7 == 0 => {
                // SAFETY: the caller's word. What has no memory yet needs none.
                self.cut(part).iter().for_each(|piece| unsafe { deny(piece, false) });
                Ok(())
            }
            What::Private => self.cut(part).iter().try_for_each(|piece| {
                // SAFETY: as above.
                unsafe { reservation::commit(piece, prot) }
            }),
            What::Shared { object, delta } => {
                let inside = inside(part, *delta, object.len());
                // SAFETY: as above.
                self.cut(&inside).iter().try_for_each(|piece| unsafe { reservation::commit(piece, prot) })?;
                let outside = inside.end..part.end;
                // SAFETY: as above.
                self.cut(&outside).iter().for_each(|piece| unsafe { deny(piece, !object.is_alone()) });
                past::set(inside, false)?;
                past::set(outside, true)
            }
        }
    }

    /// Follows an object to a new length in all its maps.
    pub(super) fn resized(&mut self, object: &Arc<Object>) -> Result<(), Errno> {
        let theirs =
            |pages: &Pages| matches!(&pages.what, What::Shared { object: o, .. } if Arc::ptr_eq(o, object));
        let parts: Vec<_> =
            self.pages.iter().filter(|(_, p)| theirs(p)).map(|(r, p)| (r.clone(), p.clone())).collect();
        // SAFETY: maps of ours, brought to the protection that was asked for.
        parts.iter().try_for_each(|(part, pages)| unsafe { self.apply(part, &pages.what, pages.prot) })
    }

    /// Private memory, of which the first `filled` bytes are to have content; what follows is past the end of a file,
    /// and inaccessible.
    ///
    /// # Safety
    /// With `MAP_FIXED` what is at the address is replaced.
    pub(super) unsafe fn map_private(&mut self, request: &Request, filled: usize) -> Result<usize, Errno> {
        let Request { addr, len, prot, .. } = *request;
        let range = match self.wanted(request)? {
            Some(range) => {
                self.check_private_room(&range)?;
                // SAFETY: the caller's own request.
                unsafe { self.munmap(range.clone()) }?;
                self.set_apart(&reservation::granules(&range))?;
                self.reserve_missing(&range)?;
                range
            }
            None => {
                let hint = if addr.is_multiple_of(GRANULE) { addr } else { 0 };
                let region = Region::reserve(hint, len)
                    .or_else(|e| if hint == 0 { Err(e) } else { Region::reserve(0, len) })?;
                let start = region.range.start;
                self.add_region(region);
                start..start + page::ceil(len, super::PAGE).ok_or(Errno::NOMEM)?
            }
        };
        let content =
            range.start..range.start + page::ceil(filled, super::PAGE).unwrap_or(0).min(range.len());
        let pages = |what| Pages { what, prot, locked: false };
        self.pages.insert(range.clone(), pages(What::Beyond));
        // SAFETY: pages that were just made and are nobody's yet.
        let done = unsafe { self.apply(&content, &What::Private, prot) }
            .and_then(|()| past::set(content.end..range.end, true));
        if !content.is_empty() {
            self.pages.insert(content, pages(What::Private));
        }
        if let Err(errno) = done {
            // SAFETY: made above, known to nobody.
            let _ = unsafe { self.munmap(range) };
            return Err(errno);
        }
        Ok(range.start)
    }

    /// A map of shared memory from content offset `off` on.
    ///
    /// # Safety
    /// With `MAP_FIXED` what is at the address is replaced.
    pub(super) unsafe fn map_shared(
        &mut self,
        request: &Request,
        object: &Arc<Object>,
        off: u64,
    ) -> Result<usize, Errno> {
        let len = page::ceil(request.len, super::PAGE).ok_or(Errno::NOMEM)?;
        let lead = (off % GRANULE as u64) as usize;
        let addr = match self.wanted(request)? {
            _ if object.is_alone() => self.place_alone(request, object, off, len)?,
            Some(range) => {
                if range.start % GRANULE != lead {
                    return Err(Errno::NOTSUP);
                }
                self.check_shared_room(&range)?;
                // SAFETY: the caller's own request.
                unsafe { self.munmap(range.clone()) }?;
                // SAFETY: nothing in it is mapped, as was checked.
                unsafe { self.give_up(&reservation::granules(&range)) }?;
                self.add_region(object.view(range.start - lead, off - lead as u64, len + lead)?);
                range.start
            }
            None => {
                let hint = if request.addr % GRANULE == lead { request.addr - lead } else { 0 };
                let at = |hint| object.view(hint, off - lead as u64, len + lead);
                let region = at(hint).or_else(|e| if hint == 0 { Err(e) } else { at(0) })?;
                let start = region.range.start + lead;
                self.add_region(region);
                start
            }
        };
        let what = What::Shared { object: object.clone(), delta: off.wrapping_sub(addr as u64) };
        // SAFETY: just mapped, known to nobody; pages that others committed are accessible up to here.
        let done = unsafe { self.apply(&(addr..addr + len), &what, request.prot) };
        self.pages.insert(addr..addr + len, Pages { what, prot: request.prot, locked: false });
        if let Err(errno) = done {
            // SAFETY: made above, known to nobody.
            let _ = unsafe { self.munmap(addr..addr + len) };
            return Err(errno);
        }
        Ok(addr)
    }

    /// Takes the region of an image that is gone out of the table.
    pub(super) fn forget_lent(&mut self, start: usize) {
        self.regions.remove(&start);
    }
}

/// The arguments of a map that place it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) addr: usize,
    pub(crate) len: usize,
    pub(crate) prot: i32,
    pub(crate) flags: i32,
}

/// The part of a range of addresses that shows content before `len`, in whole pages.
fn inside(part: &Range<usize>, delta: u64, len: u64) -> Range<usize> {
    let start = (part.start as u64).wrapping_add(delta);
    let there = page::ceil64(len, super::PAGE).saturating_sub(start).min(part.len() as u64);
    part.start..part.start + there as usize
}

/// Makes pages of one region inaccessible; those that have no memory are so already, except in a `view` under Wine.
///
/// # Safety
/// The pages must be the caller's to protect.
unsafe fn deny(piece: &Range<usize>, view: bool) {
    let mut at = piece.start;
    while at < piece.end {
        let Some((state, end)) = reservation::query(at) else { return };
        let stretch = at..end.min(piece.end);
        if state == MEM_COMMIT {
            // SAFETY: the caller's word.
            let _ = unsafe { reservation::protect(&stretch, 0) };
        } else if state == MEM_RESERVE && view && reservation::reserved_is_accessible() {
            // SAFETY: as above.
            let _ = unsafe { reservation::commit(&stretch, 0) };
        }
        at = stretch.end;
    }
}
