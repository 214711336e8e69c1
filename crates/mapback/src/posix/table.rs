//! The ordered table of the maps that are ours.

use crate::image::Image;
use crate::page::common;
use crate::track::TrackerKind;
use core::ops::Range;
use core::sync::atomic::Ordering;
use rangemap::RangeMap;
use std::sync::Arc;

/// One map, or a part of one: what holds for each of its pages. Neighbours that agree are one entry, as the
/// kernel merges its own.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) image: Arc<Image>,
    /// File offset minus address, modulo 2^64: the same for every page of a map.
    pub(crate) delta: u64,
    pub(crate) shared: bool,
    /// The protection that the program asked for.
    pub(crate) prot: i32,
    /// The protections that the descriptor and its mount allowed when it was mapped.
    pub(crate) allowed: i32,
    /// Who tracks the range; `None` as long as it was never writable, or is private.
    pub(crate) tracker: Option<TrackerKind>,
    /// The file offset up to which it is tracked: somewhat past the end of the file, so that small changes of the
    /// length need nothing; not all of a map that is far longer than the file.
    pub(crate) armed: u64,
    /// A forked child does not inherit the range (`MADV_DONTFORK`).
    pub(crate) no_fork: bool,
}

impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        Arc::ptr_eq(&self.image, &other.image)
            && (self.delta, self.shared, self.prot) == (other.delta, other.shared, other.prot)
            && (self.allowed, self.tracker, self.armed, self.no_fork)
                == (other.allowed, other.tracker, other.armed, other.no_fork)
    }
}

impl Eq for Map {}

impl Map {
    /// The file offsets that a range of addresses shows.
    pub(crate) fn bytes(&self, range: &Range<usize>) -> Range<u64> {
        let start = (range.start as u64).wrapping_add(self.delta);
        start..start.saturating_add(range.len() as u64)
    }

    /// The address at which a file offset would show.
    fn address(&self, off: u64) -> usize {
        off.wrapping_sub(self.delta) as usize
    }

    /// The part of `range` that shows some of `bytes`, in whole pages of `page` bytes.
    pub(crate) fn showing(&self, range: &Range<usize>, bytes: &Range<u64>, page: usize) -> Range<usize> {
        let shown = common(&self.bytes(range), bytes);
        if shown.is_empty() {
            return range.start..range.start;
        }
        let start = self.address(shown.start) & !(page - 1);
        start..(self.address(shown.end).wrapping_add(page - 1) & !(page - 1)).min(range.end)
    }
}

/// All maps of ours, by address.
#[derive(Debug, Default)]
pub(crate) struct MapTable {
    ranges: RangeMap<usize, Map>,
}

impl MapTable {
    /// The entries that overlap `range`, clipped to it, in order.
    pub(crate) fn overlapping(&self, range: &Range<usize>) -> Vec<(Range<usize>, Map)> {
        if range.is_empty() {
            return Vec::new();
        }
        self.ranges.overlapping(range).map(|(r, m)| (common(r, range), m.clone())).collect()
    }

    /// Whether an entry overlaps `range`.
    pub(crate) fn overlaps(&self, range: &Range<usize>) -> bool {
        !range.is_empty() && self.ranges.overlaps(range)
    }

    /// The stretches of `range` that are not ours.
    pub(crate) fn gaps(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        self.ranges.gaps(range).collect()
    }

    /// The entries that show an image.
    pub(crate) fn of(&self, image: &Arc<Image>) -> Vec<(Range<usize>, Map)> {
        let theirs = |m: &Map| Arc::ptr_eq(&m.image, image);
        self.ranges.iter().filter(|(_, m)| theirs(m)).map(|(r, m)| (r.clone(), m.clone())).collect()
    }

    /// Every entry.
    pub(crate) fn all(&self) -> Vec<(Range<usize>, Map)> {
        self.ranges.iter().map(|(r, m)| (r.clone(), m.clone())).collect()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Puts an entry in place of whatever the table has there.
    pub(crate) fn insert(&mut self, range: Range<usize>, map: Map) {
        if range.is_empty() {
            return;
        }
        self.remove(&range);
        map.image.mapped.fetch_add(range.len(), Ordering::Relaxed);
        self.ranges.insert(range, map);
    }

    /// Takes the range out of the table.
    pub(crate) fn remove(&mut self, range: &Range<usize>) {
        for (part, map) in self.overlapping(range) {
            map.image.mapped.fetch_sub(part.len(), Ordering::Relaxed);
        }
        if !range.is_empty() {
            self.ranges.remove(range.clone());
        }
    }
}
