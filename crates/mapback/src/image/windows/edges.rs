//! Pages in which a map ends before the page does.
//!
//! Such a map shows the page's rest, as the kernel's does, but a program that asked for less writes that part of the
//! file by `write`, if at all: an index is mapped, and the records begin right behind it. Nobody tells us of that. So
//! the rest is written back only where it differs from what the store was known to hold; the part that was asked for
//! always, as every page is.

use super::write_back::copied;
use super::{Image, Io};
use crate::store::{FileStore, Run, read_range};
use crate::sys::Errno;
use crate::sys::os;
use crate::track::differences;
use core::ops::Range;
use std::collections::BTreeMap;

const PAGE: usize = os::PAGE;

/// The rest of one page.
struct Edge {
    /// Where it begins in the page: not at 0.
    from: usize,
    /// What the store holds, of the whole page.
    stored: Box<[u8; PAGE]>,
}

/// The edges of an image's maps, by the number of the page.
#[derive(Default)]
pub(super) struct Edges {
    pages: BTreeMap<usize, Edge>,
}

impl Edges {
    /// The file offsets of the rest of each page in a range, in order.
    pub(super) fn rests(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let pages = (range.start / PAGE as u64) as usize..range.end.div_ceil(PAGE as u64) as usize;
        let rest = |(page, edge): (&usize, &Edge)| {
            let start = (page * PAGE) as u64;
            (start + edge.from as u64).max(range.start)..(start + PAGE as u64).min(range.end)
        };
        self.pages.range(pages).map(rest).filter(|rest| !rest.is_empty()).collect()
    }

    /// What the store was known to hold of a part of one page.
    fn stored(&mut self, part: &Range<u64>) -> Option<&mut [u8]> {
        let (page, at) = ((part.start / PAGE as u64) as usize, (part.start % PAGE as u64) as usize);
        let len = (part.end - part.start) as usize;
        Some(&mut self.pages.get_mut(&page)?.stored[at..at + len])
    }

    /// Notes what stands in the store from byte `at` on.
    pub(super) fn set(&mut self, at: u64, bytes: &[u8]) {
        for rest in self.rests(&(at..at + bytes.len() as u64)) {
            if let Some(stored) = self.stored(&rest) {
                let from = (rest.start - at) as usize;
                stored.copy_from_slice(&bytes[from..from + stored.len()]);
            }
        }
    }

    /// Reads once more what the store holds in a range; past its end that is zero.
    pub(super) fn read(&mut self, store: &FileStore, range: &Range<u64>) -> Result<(), Errno> {
        for rest in self.rests(range) {
            if let Some(stored) = self.stored(&rest) {
                stored.fill(0);
                // SAFETY: as long as the range.
                unsafe { read_range(store, stored.as_mut_ptr(), rest) }?;
            }
        }
        Ok(())
    }
}

impl Image {
    /// Notes where a map that may be stored to ends. `shown` tells whether another map shows the page of that end; if
    /// it was not noted here, it shows it to the page's end. The caller does so before the map can be stored to.
    ///
    /// # Errors
    /// Those of reading the file.
    pub(crate) fn note_edge(&self, bytes: &Range<u64>, shown: bool) -> Result<(), Errno> {
        let mut io = self.io.lock();
        let Io { first, writer, edges, .. } = &mut *io;
        let (last, from) = ((bytes.end / PAGE as u64) as usize, (bytes.end % PAGE as u64) as usize);
        // Pages that are asked for to their end have no rest any more.
        edges.pages.retain(|page, _| !((bytes.start / PAGE as u64) as usize..last).contains(page));
        if self.compare || from == 0 {
            return Ok(());
        }
        if let Some(edge) = edges.pages.get_mut(&last) {
            edge.from = edge.from.max(from);
        } else if !shown {
            let mut stored = Box::new([0; PAGE]);
            let start = (last * PAGE) as u64;
            // From the store and not from the memory: what is stored there and not yet written differs.
            // SAFETY: a page long.
            unsafe {
                read_range(writer.as_ref().unwrap_or(first), stored.as_mut_ptr(), start..start + PAGE as u64)
            }?;
            edges.pages.insert(last, Edge { from, stored });
        }
        Ok(())
    }

    /// Writes, of the rest of a page, the bytes that differ from what the store holds. Returns how many runs and bytes
    /// that were.
    pub(super) fn write_rest(&self, io: &mut Io, rest: &Range<u64>) -> Result<(u64, u64), Errno> {
        let Io { first, writer, edges, .. } = io;
        let (store, Some(stored)) = (writer.as_ref().unwrap_or(first), edges.stored(rest)) else {
            return Ok((0, 0));
        };
        let now = copied(&self.section, rest);
        let mut parts = Vec::new();
        differences(stored, 0, &now, &mut |part| parts.push(part));
        let mut done = (0, 0);
        for part in parts {
            let bytes = &now[part.clone()];
            let off = rest.start + part.start as u64;
            let mut run = Run { from: bytes.as_ptr(), len: bytes.len(), off, done: 0, error: None };
            // SAFETY: a slice.
            unsafe { run.write_rest(store) };
            stored[part.start..part.start + run.done].copy_from_slice(&bytes[..run.done]);
            done = (done.0 + 1, done.1 + run.done as u64);
            if let Some(errno) = run.error {
                return Err(errno);
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: u64 = PAGE as u64;

    fn edges() -> Edges {
        let edge = |from| Edge { from, stored: Box::new([0; PAGE]) };
        Edges { pages: [(1, edge(100)), (3, edge(4000))].into() }
    }

    #[test]
    fn rests_are_clipped_to_the_range() {
        let edges = edges();
        assert_eq!(edges.rests(&(0..9 * P)), [P + 100..2 * P, 3 * P + 4000..4 * P]);
        assert_eq!(edges.rests(&(P + 200..3 * P + 4001)), [P + 200..2 * P, 3 * P + 4000..3 * P + 4001]);
        assert!(edges.rests(&(0..P + 100)).is_empty());
    }

    #[test]
    fn only_rests_are_noted() {
        let mut edges = edges();
        edges.set(P + 99, &[1, 2, 3]);
        assert_eq!(edges.stored(&(P + 98..P + 103)).unwrap(), [0, 0, 2, 3, 0]);
        edges.set(2 * P - 1, &vec![7; 2 * PAGE]);
        assert_eq!(edges.stored(&(2 * P - 2..2 * P)).unwrap(), [0, 7]);
        assert_eq!(edges.stored(&(3 * P + 3999..3 * P + 4001)).unwrap(), [0, 7]);
        edges.set(3 * P + 3999, &[8, 9]);
        assert_eq!(edges.stored(&(3 * P + 3999..3 * P + 4001)).unwrap(), [0, 9]);
    }
}
