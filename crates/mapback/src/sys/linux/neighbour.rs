//! Another process's maps of a shared-memory object, and which of their pages it has changed.
//!
//! Nobody is asked but the kernel: `/proc/PID/maps` tells which ranges show the object, and `PAGEMAP_SCAN` which pages
//! of them were written. Where the range is not registered for that, a writable one counts as changed: under the
//! `fault` tracker those are just the pages that were stored to. Nothing is re-armed there, so that the other
//! process still learns of each change itself.

use super::file::slurp;
use super::pagemap::Pagemap;
use core::ops::Range;
use rustix::io::Errno;
use std::ffi::CString;

/// A range of addresses of another process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Vma {
    range: Range<usize>,
    writable: bool,
    off: u64,
}

/// Reports the byte ranges of the object (device and inode) that process `pid` has changed since it last collected,
/// as far as they overlap `bytes`. `window` is a range there that no tracker watches. Returns how many maps of
/// the object the process has; `None` when it has no memory any more, and is about to end.
///
/// # Errors
/// Those of opening `/proc/PID/maps`: `ENOENT` when the process has ended.
pub(crate) fn changed(
    pid: i32,
    object: (u64, u64),
    window: &Range<usize>,
    bytes: &Range<u64>,
    sink: &mut dyn FnMut(Range<u64>),
) -> Result<Option<usize>, Errno> {
    let path = |file| CString::new(format!("/proc/{pid}/{file}")).expect("no zero byte in a number");
    let text = slurp(&path("maps"))?;
    if text.is_empty() {
        return Ok(None);
    }
    let mut maps = 0;
    let pagemap = Pagemap::open(&path("pagemap")).ok();
    for vma in maps_of(&String::from_utf8_lossy(&text), object) {
        maps += 1;
        let inside = window.start <= vma.range.start && vma.range.end <= window.end;
        let shown = vma.off..vma.off + vma.range.len() as u64;
        let common = shown.start.max(bytes.start)..shown.end.min(bytes.end);
        if inside || common.is_empty() {
            continue;
        }
        let page = super::page_size() as u64;
        let start = vma.range.start + ((common.start - vma.off) / page * page) as usize;
        let end = vma.range.start + ((common.end - vma.off).div_ceil(page) * page) as usize;
        let to_bytes = |run: Range<usize>| {
            let off = vma.off + (run.start - vma.range.start) as u64;
            off..off + run.len() as u64
        };
        let part = start..end.min(vma.range.end);
        let seen = pagemap.as_ref().map(|p| p.peek(&part, &mut |run| sink(to_bytes(run))));
        if !matches!(seen, Some(Ok(()))) && vma.writable {
            sink(to_bytes(part));
        }
    }
    Ok(Some(maps))
}

/// The shared maps of an object in the text of `/proc/PID/maps`.
fn maps_of(text: &str, (dev, ino): (u64, u64)) -> impl Iterator<Item = Vma> + '_ {
    let dev = format!("{:02x}:{:02x}", rustix::fs::major(dev), rustix::fs::minor(dev));
    text.lines().filter_map(move |line| {
        let mut words = line.split_ascii_whitespace();
        let (range, mode, off) = (words.next()?, words.next()?, words.next()?);
        if words.next()? != dev || words.next()?.parse() != Ok(ino) || mode.as_bytes().get(3) != Some(&b's') {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(Vma {
            range: number(start)?..number(end)?,
            writable: mode.as_bytes().get(1) == Some(&b'w'),
            off: u64::from_str_radix(off, 16).ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_object_are_read() {
        let text = "7f00-8f00 rw-s 00003000 00:1a 77    /dev/shm/x\n\
                    9000-a000 r--s 00000000 00:1a 77    /dev/shm/x (deleted)\n\
                    b000-c000 rw-p 00000000 00:1a 77    /dev/shm/x\n\
                    d000-e000 rw-s 00000000 00:1b 77    /dev/shm/y\n\
                    f000-ff00 rw-p 00000000 00:00 0 \n";
        let found: Vec<_> = maps_of(text, (rustix::fs::makedev(0, 0x1a), 77)).collect();
        let vma = |range, writable, off| Vma { range, writable, off };
        assert_eq!(found, [vma(0x7f00..0x8f00, true, 0x3000), vma(0x9000..0xa000, false, 0)]);
    }

    #[test]
    fn an_unregistered_writable_map_counts_as_changed_but_not_the_window() {
        use super::super::{mem, page_size, pid, shm::Shm};
        let page = page_size();
        let shm = Shm::new().unwrap();
        shm.resize(4 * page as u64).unwrap();
        let object = shm.identity().unwrap();
        let window = shm.window(4 * page).unwrap();
        let seen = |window: Range<usize>, bytes: Range<u64>| {
            let mut all = Vec::new();
            changed(pid(), object, &window, &bytes, &mut |run| all.push(run)).unwrap();
            all
        };
        assert_eq!(seen(window..window + 4 * page, 0..u64::MAX), []);
        let page = page as u64;
        let changed = seen(0..0, page + 1..2 * page + 1);
        assert!(changed.len() == 1 && changed[0] == (page..3 * page), "{changed:?}");
        // SAFETY: mapped above.
        unsafe { mem::munmap(window, 4 * page as usize) }.unwrap();
    }
}
