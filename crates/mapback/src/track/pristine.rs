//! What the `compare` tracker compares with: the content as it is known to stand in the store.

use crate::sys::{Errno, os::mem::OwnMemory};
use core::ops::Range;

/// Granule in which equality is looked at first.
const BLOCK: usize = 512;

/// A copy of the stored content of one image.
#[derive(Debug, Default)]
pub(crate) struct Pristine {
    bytes: OwnMemory,
}

impl Pristine {
    /// Makes room for content of `len` bytes; what is new reads zero.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn resize(&mut self, len: usize) -> Result<(), Errno> {
        self.bytes.resize(len)
    }

    /// Notes that the store reads zero from byte `at` on.
    pub(crate) fn zero_from(&mut self, at: usize) {
        self.zero(at..self.bytes.bytes().len());
    }

    /// Notes that the store reads zero in a range of bytes.
    pub(crate) fn zero(&mut self, range: Range<usize>) {
        for block in range.clone().step_by(BLOCK) {
            // Untouched memory stays untouched: a sparse file has a sparse copy.
            let end = (block + BLOCK).min(range.end);
            if self.bytes.bytes()[block..end].iter().any(|b| *b != 0) {
                self.bytes.bytes_mut()[block..end].fill(0);
            }
        }
    }

    /// Notes what stands in the store from byte `at` on.
    pub(crate) fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Where what stands in the store from byte `at` on is kept, to be read into.
    pub(crate) fn bytes_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        &mut self.bytes.bytes_mut()[at..at + len]
    }

    /// What stands in the store from byte `at` on.
    pub(crate) fn get(&self, at: usize, len: usize) -> &[u8] {
        &self.bytes.bytes()[at..at + len]
    }

    /// Reports the maximal stretches of bytes, as offsets, in which `now`, standing at `at`, differs.
    pub(crate) fn differences(&self, at: usize, now: &[u8], sink: &mut dyn FnMut(Range<usize>)) {
        differences(&self.bytes.bytes()[at..at + now.len()], at, now, sink);
    }
}

/// Reports the maximal stretches of bytes, as offsets from that at which both stand, in which `now` differs from `was`.
pub(crate) fn differences(was: &[u8], at: usize, now: &[u8], sink: &mut dyn FnMut(Range<usize>)) {
    if was == now {
        return;
    }
    let mut open: Option<usize> = None;
    for (nth, (a, b)) in was.chunks(BLOCK).zip(now.chunks(BLOCK)).enumerate() {
        let base = at + nth * BLOCK;
        if a == b {
            if let Some(from) = open.take() {
                sink(from..base);
            }
            continue;
        }
        for (i, (x, y)) in a.iter().zip(b).enumerate() {
            match (x != y, open) {
                (true, None) => open = Some(base + i),
                (false, Some(from)) => {
                    sink(from..base + i);
                    open = None;
                }
                _ => {}
            }
        }
    }
    if let Some(from) = open {
        sink(from..at + now.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(was: &[u8], now: &[u8]) -> Vec<Range<usize>> {
        let mut pristine = Pristine::default();
        pristine.resize(was.len()).unwrap();
        pristine.set(0, was);
        let mut runs = Vec::new();
        pristine.differences(0, now, &mut |r| runs.push(r));
        runs
    }

    #[test]
    fn only_bytes_that_differ_are_reported_and_runs_cross_blocks() {
        let was = vec![0u8; 3 * BLOCK];
        let mut now = was.clone();
        assert!(diff(&was, &now).is_empty());
        now[3] = 1;
        now[BLOCK - 1..BLOCK + 2].fill(7);
        now[3 * BLOCK - 1] = 9;
        assert_eq!(diff(&was, &now), [3..4, BLOCK - 1..BLOCK + 2, 3 * BLOCK - 1..3 * BLOCK]);
    }

    #[test]
    fn offsets_are_those_of_the_content() {
        let mut pristine = Pristine::default();
        pristine.resize(100).unwrap();
        pristine.set(10, &[5; 10]);
        let mut runs = Vec::new();
        pristine.differences(8, &[0, 0, 5, 6, 5], &mut |r| runs.push(r));
        assert_eq!(runs, vec![11..12]);
    }
}
