//! Reservations and views: what the system gives and takes in multiples of 64 KiB.

use super::{GRANULE, PAGE};
use crate::sys::Errno;
use core::ops::Range;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use windows_sys::Win32::System::Memory as w;
use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RESERVE, MEMORY_BASIC_INFORMATION};

/// What kind of memory a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Private memory, reserved here and committed page by page.
    Private,
    /// A view of a section.
    View,
    /// Memory that belongs to an image, which lets go of it itself.
    Lent,
}

/// One reservation or view.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) range: Range<usize>,
    pub(super) kind: Kind,
}

impl Region {
    /// Reserves memory, at `addr` or anywhere.
    ///
    /// # Errors
    /// `ENOMEM`, also where something is at `addr` already.
    pub(super) fn reserve(addr: usize, len: usize) -> Result<Region, Errno> {
        let len = crate::page::ceil(len, GRANULE).ok_or(Errno::NOMEM)?;
        // SAFETY: reserves what is free; replaces nothing.
        let at = unsafe { w::VirtualAlloc(addr as *const _, len, MEM_RESERVE, w::PAGE_NOACCESS) } as usize;
        if at == 0 {
            return Err(Errno::NOMEM);
        }
        Ok(Region { range: at..at + len, kind: Kind::Private })
    }

    /// Maps a part of a section, at `addr` or anywhere; `off` is a multiple of the granule.
    ///
    /// # Errors
    /// `ENOMEM`, also where something is at `addr` already.
    pub(super) fn view(
        section: BorrowedHandle<'_>,
        addr: usize,
        off: u64,
        len: usize,
        exec: bool,
    ) -> Result<Region, Errno> {
        let access = w::FILE_MAP_READ | w::FILE_MAP_WRITE | if exec { w::FILE_MAP_EXECUTE } else { 0 };
        let (high, low) = ((off >> 32) as u32, off as u32);
        // SAFETY: maps where it is free; replaces nothing.
        let at =
            unsafe { w::MapViewOfFileEx(section.as_raw_handle(), access, high, low, len, addr as *const _) }
                .Value as usize;
        if at == 0 {
            return Err(Errno::NOMEM);
        }
        let end = at + crate::page::ceil(len, GRANULE).unwrap_or(len);
        Ok(Region { range: at..end, kind: Kind::View })
    }

    /// Gives the region back to the system.
    ///
    /// # Safety
    /// Nobody may use its addresses any more.
    pub(super) unsafe fn release(self) {
        let at = self.range.start;
        // SAFETY: what a function above made, given back once; the caller's word.
        unsafe {
            match self.kind {
                Kind::Private => {
                    w::VirtualFree(at as *mut _, 0, w::MEM_RELEASE);
                }
                Kind::View => {
                    w::UnmapViewOfFile(w::MEMORY_MAPPED_VIEW_ADDRESS { Value: at as *mut _ });
                }
                Kind::Lent => {}
            }
        }
    }
}

/// `PAGE_*` for `PROT_*`.
fn page_constant(prot: i32) -> u32 {
    match prot & 7 {
        0 => w::PAGE_NOACCESS,
        1 => w::PAGE_READONLY,
        2 | 3 => w::PAGE_READWRITE,
        4 => w::PAGE_EXECUTE,
        5 => w::PAGE_EXECUTE_READ,
        _ => w::PAGE_EXECUTE_READWRITE,
    }
}

/// Gives pages of one region memory, where they have none, and a protection.
///
/// # Safety
/// The pages must be the caller's to protect.
///
/// # Errors
/// `ENOMEM`.
pub(super) unsafe fn commit(pages: &Range<usize>, prot: i32) -> Result<(), Errno> {
    if pages.is_empty() {
        return Ok(());
    }
    let (at, len) = (pages.start as *const _, pages.len());
    // SAFETY: what is committed already keeps its content; the caller's word for the protection.
    let done = unsafe { w::VirtualAlloc(at, len, MEM_COMMIT, page_constant(prot)) };
    if done.is_null() { Err(refused()) } else { Ok(()) }
}

/// What a call that could not have its protection or memory failed with.
fn refused() -> Errno {
    match Errno::last() {
        Errno::ACCESS => Errno::ACCESS,
        _ => Errno::NOMEM,
    }
}

/// Whether reserved pages of a view are accessible, which they are under Wine 8.
pub(super) fn reserved_is_accessible() -> bool {
    use std::sync::OnceLock;
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
    static WINE: OnceLock<bool> = OnceLock::new();
    *WINE.get_or_init(|| {
        let ntdll: Vec<u16> = "ntdll.dll\0".encode_utf16().collect();
        // SAFETY: both names end in zero; ntdll is always loaded.
        unsafe { GetProcAddress(GetModuleHandleW(ntdll.as_ptr()), c"wine_get_version".as_ptr().cast()) }
            .is_some()
    })
}

/// Takes the memory of private pages of one region away.
///
/// # Safety
/// Nobody may use the pages any more.
pub(super) unsafe fn decommit(pages: &Range<usize>) {
    if !pages.is_empty() {
        // SAFETY: the caller's word.
        unsafe { w::VirtualFree(pages.start as *mut _, pages.len(), w::MEM_DECOMMIT) };
    }
}

/// Sets the protection of committed pages of one region. Allocates nothing and takes no lock of ours: the exception
/// handler calls this.
///
/// # Safety
/// The pages must be the caller's to protect.
///
/// # Errors
/// `ENOMEM`.
pub(super) unsafe fn protect(pages: &Range<usize>, prot: i32) -> Result<(), Errno> {
    if pages.is_empty() {
        return Ok(());
    }
    let mut old = 0;
    let (at, len) = (pages.start as *const _, pages.len());
    // SAFETY: the caller's word.
    if unsafe { w::VirtualProtect(at, len, page_constant(prot), &raw mut old) } == 0 {
        return Err(refused());
    }
    Ok(())
}

/// Keeps pages of one region in memory, or no more.
///
/// # Errors
/// `ENOMEM`: the working set is too small.
pub(super) fn lock(pages: &Range<usize>, locked: bool) -> Result<(), Errno> {
    let (at, len) = (pages.start as *mut _, pages.len());
    // SAFETY: changes no content and no protection.
    let done = unsafe { if locked { w::VirtualLock(at, len) } else { w::VirtualUnlock(at, len) } };
    if done == 0 { Err(Errno::NOMEM) } else { Ok(()) }
}

/// What the system says about the pages from an address on: their state, and where the stretch ends.
pub(super) fn query(addr: usize) -> Option<(u32, usize)> {
    // SAFETY: plain data.
    let mut info: MEMORY_BASIC_INFORMATION = unsafe { core::mem::zeroed() };
    // SAFETY: `info` has the size that is said; any address may be asked about.
    let got =
        unsafe { w::VirtualQuery(addr as *const _, &raw mut info, size_of::<MEMORY_BASIC_INFORMATION>()) };
    (got != 0).then(|| (info.State, info.BaseAddress as usize + info.RegionSize))
}

/// The stretches of a range that have memory and let nobody in.
pub(super) fn inaccessible(range: &Range<usize>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        // SAFETY: plain data.
        let mut info: MEMORY_BASIC_INFORMATION = unsafe { core::mem::zeroed() };
        let size = size_of::<MEMORY_BASIC_INFORMATION>();
        // SAFETY: as in `query`.
        if unsafe { w::VirtualQuery(at as *const _, &raw mut info, size) } == 0 {
            break;
        }
        let end = (info.BaseAddress as usize + info.RegionSize).min(range.end);
        if info.State == MEM_COMMIT && info.Protect & w::PAGE_NOACCESS != 0 {
            found.push(at..end);
        }
        at = end;
    }
    found
}

/// Whether every page of a range is in one state (`MEM_FREE`, `MEM_COMMIT`).
pub(super) fn all_in_state(range: &Range<usize>, state: u32) -> bool {
    let mut at = range.start;
    while at < range.end {
        match query(at) {
            Some((is, end)) if is == state && end > at => at = end,
            _ => return false,
        }
    }
    true
}

/// The granules that a range of pages touches.
pub(super) fn granules(range: &Range<usize>) -> Range<usize> {
    let end = crate::page::ceil(range.end, GRANULE).unwrap_or(range.end);
    crate::page::floor(range.start, GRANULE)..end
}

const _: () = assert!(GRANULE.is_multiple_of(PAGE));
