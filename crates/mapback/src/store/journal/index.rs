//! Where in a journal the newest bytes of each stretch of the file are.

use core::ops::Range;
use rangemap::RangeMap;

/// Stretches of the file, each with its place in the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// The value is the place less the offset, wrapping: the same for all of a stretch, so that one stays one.
    stretches: RangeMap<u64, u64>,
}

impl Index {
    pub(super) fn new() -> Index {
        Index::default()
    }

    /// Notes that the `len` bytes from `off` on are at `place`, and no longer where they were before.
    pub(super) fn add(&mut self, off: u64, len: u64, place: u64) {
        let end = off.saturating_add(len);
        if off < end {
            self.stretches.insert(off..end, place.wrapping_sub(off));
        }
    }

    /// Takes over all that another index has.
    pub(super) fn append(&mut self, newer: Index) {
        for (range, shift) in newer.stretches.iter() {
            self.stretches.insert(range.clone(), *shift);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.stretches.clear();
    }

    /// The stretches inside `range`, in order: offsets and the place of the first byte.
    pub(super) fn inside(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, u64)> + '_ {
        let (from, to) = (range.start, range.end);
        let query = from..to.max(from.saturating_add(1));
        self.stretches.overlapping(query).filter_map(move |(stretch, shift)| {
            let part = stretch.start.max(from)..stretch.end.min(to);
            (part.start < part.end).then(|| (part.clone(), part.start.wrapping_add(*shift)))
        })
    }

    /// How many bytes of the file are in the journal.
    pub(super) fn bytes(&self) -> u64 {
        self.stretches.iter().map(|(range, _)| range.end - range.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_stretches_hide_parts_of_older_ones() {
        let mut index = Index::new();
        index.add(100, 50, 8192);
        index.add(120, 10, 9000);
        let found: Vec<_> = index.inside(110..140).collect();
        assert_eq!(found, [(110..120, 8202), (120..130, 9000), (130..140, 8222)]);
        assert_eq!(index.bytes(), 50);
        assert_eq!(index.inside(0..100).count(), 0);
        assert_eq!(index.inside(105..105).count(), 0);
    }

    #[test]
    fn offsets_before_their_place_and_behind_it_both_work() {
        let mut index = Index::new();
        index.add(1 << 40, 4, 8192);
        index.add(0, 4, 1 << 30);
        assert_eq!(
            index.inside(0..u64::MAX).collect::<Vec<_>>(),
            [(0..4, 1 << 30), (1 << 40..(1 << 40) + 4, 8192)]
        );
    }
}
