//! Memory whose first stores the system itself notes (`MEM_WRITE_WATCH`).

use super::PAGE;
use crate::sys::Errno;
use core::ops::Range;
use windows_sys::Win32::System::Memory as w;

/// Flags that the bindings lack.
const MEM_WRITE_WATCH: u32 = 0x20_0000;
const WRITE_WATCH_FLAG_RESET: u32 = 1;

/// Reserves memory of which each store is noted, those by the kernel too.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn reserve(len: usize) -> Result<usize, Errno> {
    let kind = w::MEM_RESERVE | MEM_WRITE_WATCH;
    // SAFETY: the system chooses an address that is free.
    let at = unsafe { w::VirtualAlloc(core::ptr::null(), len, kind, w::PAGE_NOACCESS) };
    if at.is_null() { Err(Errno::NOMEM) } else { Ok(at as usize) }
}

/// Begins to note anew.
///
/// # Errors
/// `EINVAL` where the range is none that is watched.
pub(crate) fn reset(range: &Range<usize>) -> Result<(), Errno> {
    // SAFETY: takes numbers.
    let failed = unsafe { w::ResetWriteWatch(range.start as *const _, range.len()) };
    if failed != 0 { Err(Errno::INVAL) } else { Ok(()) }
}

/// Reports the pages of a range that were stored to, and begins to note anew, in one step.
///
/// # Errors
/// `EINVAL` where the range is none that is watched.
pub(crate) fn collect(range: &Range<usize>, sink: &mut dyn FnMut(Range<usize>)) -> Result<(), Errno> {
    const MOST: usize = 1024;
    let mut found = [core::ptr::null_mut(); MOST];
    let mut at = range.start;
    while at < range.end {
        let (mut count, mut granularity) = (MOST, 0u32);
        // The range of each call is short enough for all of its pages to fit.
        let end = range.end.min(at + MOST * PAGE);
        // SAFETY: `found` has room for `count` addresses.
        let failed = unsafe {
            w::GetWriteWatch(
                WRITE_WATCH_FLAG_RESET,
                at as *const _,
                end - at,
                found.as_mut_ptr(),
                &raw mut count,
                &raw mut granularity,
            )
        };
        if failed != 0 {
            return Err(Errno::INVAL);
        }
        let mut run = 0..0;
        for page in found[..count].iter().map(|page| *page as usize) {
            if page == run.end {
                run.end += PAGE;
                continue;
            }
            if !run.is_empty() {
                sink(run);
            }
            run = page..page + PAGE;
        }
        if !run.is_empty() {
            sink(run);
        }
        at = end;
    }
    Ok(())
}
