//! `PAGEMAP_SCAN` (Linux 6.7): which pages were written, and write-protect them again in the same step.

use super::fd::{Private, with_room};
use super::raw::{Sysno, call};
use core::ffi::CStr;
use core::ops::Range;
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: usize = (3 << 30) | (size_of::<ScanArg>() << 16) | ((b'f' as usize) << 8) | 16;
/// The page map of the process that opens it.
pub(crate) const OWN: &CStr = c"/proc/self/pagemap";
/// Regions that one call can report.
const REGIONS: usize = 256;

#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// This process's page map. It belongs to the address space that opened it: a forked child needs its own.
#[derive(Debug)]
pub(crate) struct Pagemap {
    fd: Private,
}

impl Pagemap {
    /// Opens a process's own `/proc/self/pagemap`, or that of another.
    ///
    /// # Errors
    /// `ENOENT` where /proc is not mounted; `EACCES` for somebody else's process.
    pub(crate) fn open(path: &CStr) -> Result<Pagemap, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = with_room(|| rustix::fs::open(path, flags, Mode::empty()))?;
        Ok(Pagemap { fd: Private::new(fd) })
    }

    /// Reports the written pages of `range` as runs of addresses and write-protects them again, page by page
    /// in one step: a store either is reported now or will be the next time.
    ///
    /// # Errors
    /// `EPERM` when a part of the range is not registered for asynchronous write protection, `ENOTTY` before
    /// Linux 6.7. Runs reported before the error have been write-protected.
    pub(crate) fn collect(
        &self,
        range: &Range<usize>,
        sink: &mut dyn FnMut(Range<usize>),
    ) -> Result<(), Errno> {
        self.scan(range, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, sink)
    }

    /// Write-protects every page of a registered range, also those that are not there yet, and reports nothing.
    ///
    /// # Errors
    /// As [`Pagemap::collect`].
    pub(crate) fn protect(&self, range: &Range<usize>) -> Result<(), Errno> {
        let mut arg = ScanArg {
            size: size_of::<ScanArg>() as u64,
            flags: PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
            start: range.start as u64,
            end: range.end as u64,
            category_mask: PAGE_IS_WRITTEN,
            ..ScanArg::default()
        };
        loop {
            match self.ask(&mut arg) {
                Err(Errno::INTR) => continue,
                other => return other.map(drop),
            }
        }
    }

    fn ask(&self, arg: &mut ScanArg) -> Result<usize, Errno> {
        let fd = self.fd.as_fd().as_raw_fd() as usize;
        // SAFETY: `arg` has the layout of pm_scan_arg, and its `vec` holds `vec_len` regions (or none).
        unsafe { call(Sysno::ioctl, [fd, PAGEMAP_SCAN, arg as *mut ScanArg as usize, 0, 0, 0]) }
    }

    /// Reports the written pages and leaves them as they are.
    ///
    /// # Errors
    /// As [`Pagemap::collect`].
    pub(crate) fn peek(&self, range: &Range<usize>, sink: &mut dyn FnMut(Range<usize>)) -> Result<(), Errno> {
        self.scan(range, PM_SCAN_CHECK_WPASYNC, sink)
    }

    fn scan(
        &self,
        range: &Range<usize>,
        flags: u64,
        sink: &mut dyn FnMut(Range<usize>),
    ) -> Result<(), Errno> {
        let mut regions = [Region::default(); REGIONS];
        let mut at = range.start as u64;
        let end = range.end as u64;
        while at < end {
            let mut arg = ScanArg {
                size: size_of::<ScanArg>() as u64,
                flags,
                start: at,
                end,
                vec: regions.as_mut_ptr() as u64,
                vec_len: REGIONS as u64,
                category_mask: PAGE_IS_WRITTEN,
                return_mask: PAGE_IS_WRITTEN,
                ..ScanArg::default()
            };
            let found = match self.ask(&mut arg) {
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e),
            };
            for region in &regions[..found.min(REGIONS)] {
                sink(region.start as usize..region.end as usize);
            }
            // A full vector ends the walk early. Otherwise all was looked at, whatever `walk_end` says.
            if found < REGIONS {
                return Ok(());
            }
            at = arg.walk_end;
        }
        Ok(())
    }
}

/// Reports the pages of a range of this process that are in its page table: those that were touched, and neighbours that
/// the kernel mapped with them. Any kernel can tell.
///
/// # Errors
/// `ENOENT` where /proc is not mounted.
pub(crate) fn present(range: &Range<usize>, sink: &mut dyn FnMut(Range<usize>)) -> Result<(), Errno> {
    const PRESENT: u64 = 1 << 63;
    let pagemap = Pagemap::open(OWN)?;
    let page = super::page_size();
    let (mut at, end) = (range.start / page, range.end.div_ceil(page));
    let mut entries = [0u64; 512];
    while at < end {
        let len = entries.len().min(end - at) * size_of::<u64>();
        let off = (at * size_of::<u64>()) as u64;
        // SAFETY: an array of our own, at least as long.
        let read = unsafe { super::file::pread(pagemap.fd.as_fd(), entries.as_mut_ptr().cast(), len, off) }?;
        if read < size_of::<u64>() {
            return Err(Errno::IO);
        }
        for entry in &entries[..read / size_of::<u64>()] {
            if entry & PRESENT != 0 {
                sink(at * page..(at + 1) * page);
            }
            at += 1;
        }
    }
    Ok(())
}

/// Whether this kernel has `PAGEMAP_SCAN`.
///
/// # Errors
/// `ENOTTY` where it has not.
pub(crate) fn probe() -> Result<(), Errno> {
    let page = super::page_size();
    let mapped = super::mem::anonymous(page)?;
    let pagemap = Pagemap::open(OWN);
    let seen = pagemap.and_then(|p| p.scan(&(mapped..mapped + page), 0, &mut |_| ()));
    // SAFETY: mapped a few lines above, known to nobody else.
    unsafe { super::mem::munmap(mapped, page) }?;
    seen
}
