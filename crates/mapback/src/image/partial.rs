//! The pristine copy of an image, made page by page: what was never writable needs none.

use super::marks::Marks;
use super::to_pages;
use crate::sys::Errno;
use crate::sys::os::{self, shm::Shm};
use crate::track::Pristine;
use core::ops::Range;

/// What stands in the store, of the pages that this process could ever store to.
#[derive(Debug, Default)]
pub(super) struct Partial {
    copy: Pristine,
    /// The pages that are copied. Others count as different in each byte, should it ever come to that.
    known: Marks,
}

impl Partial {
    /// A copy of nothing, with room for `len` bytes.
    pub(super) fn new(len: u64) -> Result<Partial, Errno> {
        let mut partial = Partial::default();
        partial.make_room(len)?;
        Ok(partial)
    }

    fn make_room(&mut self, len: u64) -> Result<(), Errno> {
        self.copy.resize(usize::try_from(len).map_err(|_| Errno::NOMEM)?)
    }

    /// Copies the pages of a range of bytes that are not copied yet, each whole or up to the end of the content at `len`.
    /// No map of theirs is writable before, so that the memory is still as the store is.
    ///
    /// # Errors
    /// Those of reading the memory.
    pub(super) fn learn(&mut self, shm: &Shm, bytes: &Range<u64>, len: u64) -> Result<(), Errno> {
        let page = os::page_size();
        for pages in self.known.gaps(&to_pages(bytes)) {
            let end = (pages.end as u64 * page as u64).min(len);
            let mut at = (pages.start * page) as u64;
            while let Some(data) = shm.data(at, end) {
                let len = (data.end - data.start) as usize;
                shm.read_exact(self.copy.bytes_mut(data.start as usize, len), data.start)?;
                at = data.end;
            }
            self.known.set(pages);
        }
        Ok(())
    }

    /// Follows a change of the length. The store reads zero in what is new until it is [set](Self::bytes_mut); maps may
    /// show that already, so that it is known from the first.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn resize(&mut self, old: u64, len: u64) -> Result<(), Errno> {
        self.make_room(len)?;
        if len < old {
            self.copy.zero_from(len as usize);
        }
        let page = os::page_size() as u64;
        let (from, to) = (old.min(len).div_ceil(page) as usize, old.max(len).div_ceil(page) as usize);
        self.known.set(from..to);
        Ok(())
    }

    /// Notes that the store reads zero in a range of bytes.
    pub(super) fn zero(&mut self, range: Range<usize>) {
        self.copy.zero(range);
    }

    /// Notes what stands in the store from byte `at` on.
    pub(super) fn set(&mut self, at: usize, bytes: &[u8]) {
        self.copy.set(at, bytes);
    }

    /// Where what stands in the store from byte `at` on is kept, to be read into.
    pub(super) fn bytes_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        self.copy.bytes_mut(at, len)
    }

    /// What stands in the store in the page that begins at byte `at`, if that is known.
    pub(super) fn page(&self, at: usize, len: usize) -> Option<&[u8]> {
        self.known.contains(at / os::page_size()).then(|| self.copy.get(at, len))
    }

    /// Reports the maximal stretches of bytes, as offsets, in which `now`, standing at the beginning of a page at `at`,
    /// differs.
    pub(super) fn differences(&self, at: usize, now: &[u8], sink: &mut dyn FnMut(Range<usize>)) {
        let (page, end) = (os::page_size(), at + now.len());
        let mut from = at;
        for gap in self.known.gaps(&(at / page..end.div_ceil(page))) {
            let unknown = (gap.start * page).min(end)..(gap.end * page).min(end);
            self.copy.differences(from, &now[from - at..unknown.start - at], sink);
            from = unknown.end;
            sink(unknown);
        }
        self.copy.differences(from, &now[from - at..], sink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_differs_and_what_is_new_is_zero() {
        let page = os::page_size();
        let mut partial = Partial::new(3 * page as u64).unwrap();
        partial.known.set(1..2);
        partial.set(page, &vec![7; page]);
        let mut now = vec![7; 3 * page];
        now[page + 5] = 8;
        let found = |partial: &Partial, at: usize, now: &[u8]| {
            let mut runs = Vec::new();
            partial.differences(at, now, &mut |run| runs.push(run));
            runs
        };
        assert_eq!(found(&partial, 0, &now), [0..page, page + 5..page + 6, 2 * page..3 * page]);
        assert!(partial.page(0, page).is_none() && partial.page(page, page).is_some());
        partial.resize(3 * page as u64, 2 * page as u64 - 1).unwrap();
        partial.resize(2 * page as u64 - 1, 4 * page as u64).unwrap();
        // The byte that was cut off reads zero now.
        assert_eq!(found(&partial, page, &now[page..2 * page]), [page + 5..page + 6, 2 * page - 1..2 * page]);
        assert!(found(&partial, 2 * page, &vec![0; 2 * page]).is_empty());
    }

    #[test]
    fn a_page_is_copied_whole_even_for_a_map_of_a_part() {
        let page = os::page_size();
        let len = 2 * page as u64 - 7;
        let shm = Shm::new().unwrap();
        shm.resize(len).unwrap();
        let content: Vec<u8> = (0..len).map(|at| at as u8 | 1).collect();
        // SAFETY: a slice.
        let written = unsafe { shm.write(content.as_ptr(), content.len(), 0) };
        assert_eq!(written, Ok(()));
        let mut partial = Partial::new(len).unwrap();
        for (bytes, known) in [(3..50, 1), (page as u64 + 1..len, 2)] {
            partial.learn(&shm, &bytes, len).unwrap();
            let mut runs = Vec::new();
            partial.differences(0, &content, &mut |run| runs.push(run));
            let rest = (known * page).min(content.len())..content.len();
            assert_eq!(runs, if rest.is_empty() { vec![] } else { vec![rest] });
        }
    }
}
