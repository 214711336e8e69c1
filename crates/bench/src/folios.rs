//! How large the folios behind a map are, as far as we are allowed to know.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Pages looked at.
const SAMPLE: usize = 1 << 14;

/// Bits of a page's entry in `/proc/self/pagemap`.
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// Bit of a frame's entry in `/proc/kpageflags`: not the first page of its folio.
const TAIL: u64 = 1 << 16;

/// The mean size in bytes of the folios behind the first pages of a map, all of which must have been touched.
/// `None` where frame numbers are hidden from this user.
pub fn mean_size(addr: usize, pages: usize) -> Option<f64> {
    let page = rustix::param::page_size();
    let entries = words(&File::open("/proc/self/pagemap").ok()?, addr / page, pages.min(SAMPLE)).ok()?;
    let flags = File::open("/proc/kpageflags").ok()?;
    let (mut seen, mut folios) = (0u32, 0u32);
    for entry in entries {
        let frame = entry & FRAME;
        if entry & PRESENT == 0 || frame == 0 {
            continue;
        }
        seen += 1;
        folios += u32::from(words(&flags, frame as usize, 1).ok()?[0] & TAIL == 0);
    }
    (folios > 0).then(|| f64::from(seen) / f64::from(folios) * page as f64)
}

/// Reads some of a file's 64-bit words.
fn words(file: &File, first: usize, count: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; count * 8];
    file.read_exact_at(&mut bytes, first as u64 * 8)?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok(words.iter().map(|w| u64::from_ne_bytes(*w)).collect())
}
