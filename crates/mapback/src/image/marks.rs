//! The pages of an image that were changed and are not yet written back.

use core::ops::Range;

/// A set of page numbers that gives out its maximal runs.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    words: Vec<u64>,
    count: usize,
}

impl Marks {
    /// Adds pages; returns how many were new.
    pub(crate) fn set(&mut self, pages: Range<usize>) -> usize {
        if pages.is_empty() {
            return 0;
        }
        if self.words.len() * 64 < pages.end {
            self.words.resize(pages.end.div_ceil(64), 0);
        }
        let before = self.count;
        for (word, mask) in words(&pages) {
            self.count += (mask & !self.words[word]).count_ones() as usize;
            self.words[word] |= mask;
        }
        self.count - before
    }

    /// Removes pages.
    pub(crate) fn clear(&mut self, pages: Range<usize>) {
        let end = pages.end.min(self.words.len() * 64);
        if pages.start >= end {
            return;
        }
        for (word, mask) in words(&(pages.start..end)) {
            self.count -= (mask & self.words[word]).count_ones() as usize;
            self.words[word] &= !mask;
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The maximal runs, which stay in the set.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let end = self.words.len() * 64;
        let mut at = 0;
        core::iter::from_fn(move || {
            let start = self.next(at, end, true)?;
            at = self.next(start, end, false).unwrap_or(end);
            Some(start..at)
        })
    }

    /// The maximal runs inside `pages` that are not in the set.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(crate) fn gaps(&self, pages: &Range<usize>) -> Vec<Range<usize>> {
        let mut gaps = Vec::new();
        let mut at = pages.start;
        while let Some(start) = self.next(at, pages.end, false) {
            at = self.next(start, pages.end, true).unwrap_or(pages.end);
            gaps.push(start..at);
        }
        gaps
    }

    /// Whether one page is in the set.
    pub(crate) fn contains(&self, page: usize) -> bool {
        self.words.get(page / 64).is_some_and(|w| w & (1 << (page % 64)) != 0)
    }

    /// Removes and returns the first run inside `pages`, of at most `most` pages.
    pub(crate) fn take_run(&mut self, pages: &Range<usize>, most: usize) -> Option<Range<usize>> {
        if self.count == 0 {
            return None;
        }
        let start = self.next(pages.start, pages.end, true)?;
        let limit = pages.end.min(start.saturating_add(most));
        let end = self.next(start, limit, false).unwrap_or(limit);
        self.clear(start..end);
        Some(start..end)
    }

    /// Removes all runs inside `pages` and gives them out in order, each of at most `most` pages.
    pub(crate) fn take_runs(
        &mut self,
        pages: &Range<usize>,
        most: usize,
        mut sink: impl FnMut(Range<usize>),
    ) {
        // Each search goes on where the last one ended: from the beginning it would take the square of the time.
        let mut rest = pages.clone();
        while let Some(run) = self.take_run(&rest, most) {
            rest.start = run.end;
            sink(run);
        }
    }

    /// The first page at or after `from` and before `end` that is in the set (or is not).
    fn next(&self, from: usize, end: usize, wanted: bool) -> Option<usize> {
        let end = if wanted { end.min(self.words.len() * 64) } else { end };
        let mut page = from;
        while page < end {
            let word = self.words.get(page / 64).copied().unwrap_or(0);
            let word = (if wanted { word } else { !word }) >> (page % 64);
            if word != 0 {
                let found = page + word.trailing_zeros() as usize;
                return (found < end).then_some(found);
            }
            page = (page / 64 + 1) * 64;
        }
        None
    }
}

/// The words that a range, which is not empty, touches, each with its mask.
fn words(pages: &Range<usize>) -> impl Iterator<Item = (usize, u64)> + use<> {
    let (start, end) = (pages.start, pages.end);
    (start / 64..end.div_ceil(64)).map(move |word| {
        let low = start.max(word * 64) - word * 64;
        let high = end.min(word * 64 + 64) - word * 64;
        let mask = if high - low == 64 { !0 } else { ((1u64 << (high - low)) - 1) << low };
        (word, mask)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn runs_are_maximal_and_come_out_once() {
        let mut marks = Marks::default();
        assert_eq!(marks.set(3..5), 2);
        assert_eq!(marks.set(4..200), 195);
        assert_eq!(marks.set(300..301), 1);
        assert_eq!(marks.runs().collect::<Vec<_>>(), [3..200, 300..301]);
        assert_eq!(marks.len(), 198);
        let mut taken = Vec::new();
        let mut all = Marks::default();
        all.set(3..200);
        all.set(300..301);
        all.set(900..902);
        all.take_runs(&(5..901), 100, |run| taken.push(run));
        assert_eq!(taken, [5..105, 105..200, 300..301, 900..901]);
        assert_eq!(all.runs().collect::<Vec<_>>(), [3..5, 901..902]);
        assert_eq!(marks.take_run(&(0..1000), usize::MAX), Some(3..200));
        assert_eq!(marks.take_run(&(0..1000), usize::MAX), Some(300..301));
        assert_eq!(marks.take_run(&(0..1000), usize::MAX), None);
        assert!(marks.is_empty());
    }

    #[test]
    fn a_run_is_cut_at_the_limit_and_at_the_range() {
        let mut marks = Marks::default();
        marks.set(0..100);
        assert_eq!(marks.take_run(&(10..20), usize::MAX), Some(10..20));
        assert_eq!(marks.take_run(&(0..100), 4), Some(0..4));
        assert!(marks.contains(4) && !marks.contains(3) && !marks.contains(15));
    }

    #[test]
    fn clearing_beyond_what_was_ever_set_is_nothing() {
        let mut marks = Marks::default();
        marks.clear(1..1);
        marks.clear(7..9);
        assert!(marks.is_empty());
        assert_eq!(marks.take_run(&(0..10), 5), None);
    }

    /// Against a plain set, over a fixed sequence of pseudo-random operations.
    #[test]
    fn agrees_with_a_plain_set() {
        let (mut marks, mut set, mut seed) = (Marks::default(), BTreeSet::new(), 7u64);
        let mut random = |n: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % n
        };
        for _ in 0..if cfg!(miri) { 100 } else { 20_000 } {
            let start = random(500);
            let range = start..start + random(130);
            match random(4) {
                0 => {
                    let new = range.clone().filter(|p| set.insert(*p)).count();
                    assert_eq!(marks.set(range), new);
                }
                1 => {
                    set.retain(|p| !range.contains(p));
                    marks.clear(range);
                }
                2 => {
                    let gaps: BTreeSet<_> = marks.gaps(&range).into_iter().flatten().collect();
                    assert!(range.clone().all(|page| gaps.contains(&page) != set.contains(&page)));
                    assert!(gaps.iter().all(|page| range.contains(page)));
                }
                _ => {
                    let first = set.range(range.clone()).next().copied();
                    let run = marks.take_run(&range, 40);
                    assert_eq!(run.as_ref().map(|r| r.start), first);
                    for page in run.clone().into_iter().flatten() {
                        assert!(set.remove(&page));
                    }
                    if let Some(run) = run {
                        let cut = run.len() == 40 || run.end == range.end;
                        assert!(cut || !set.contains(&run.end));
                    }
                }
            }
            assert_eq!(marks.is_empty(), set.is_empty());
        }
    }
}
