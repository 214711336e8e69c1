//! What the model knows about the maps without asking either side.
//!
//! The kernel is the oracle; the shadow serves only to tell what the kernel leaves open, so that it is not compared
//! (see [`Shadow::open_bytes`] and [`Shadow::is_one_piece`]), and which part of the file must have been written back.

use crate::arena::{PAGE, PAGES, STARTS};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Which range of addresses: 0 is the arena, 1 the first island, and so on.
pub type Area = usize;

/// What one page of an area shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Pages of one `mmap` that were treated alike ever since.
    pub piece: u32,
    /// The page of the file, for a map of a file.
    pub file: Option<usize>,
    pub shared: bool,
}

#[derive(Debug, Default)]
pub struct Shadow {
    areas: Vec<Vec<Option<Page>>>,
    pieces: u32,
    /// For a page of the file, the byte from which on somebody stored past the end of the file.
    tails: BTreeMap<usize, usize>,
}

impl Shadow {
    pub fn new() -> Shadow {
        Shadow { areas: vec![vec![None; PAGES]], ..Shadow::default() }
    }

    /// Adds an island and returns it.
    pub fn add_island(&mut self) -> Area {
        self.areas.push(Vec::new());
        self.areas.len() - 1
    }

    /// The islands that have pages.
    pub fn islands(&self) -> Vec<Area> {
        (1..self.areas.len()).filter(|&area| !self.areas[area].is_empty()).collect()
    }

    pub fn len(&self, area: Area) -> usize {
        self.areas[area].len()
    }

    pub fn page(&self, area: Area, page: usize) -> Option<Page> {
        self.areas[area].get(page).copied().flatten()
    }

    /// The pages of a range; one hole stands for all that is beyond the area.
    fn pages(&self, area: Area, range: Range<usize>) -> impl Iterator<Item = Option<Page>> {
        (range.start..range.end.min(self.len(area) + 1)).map(move |page| self.page(area, page))
    }

    /// The pages of the arena at which an operation may start and which are mapped.
    pub fn mapped(&self) -> Vec<usize> {
        (0..STARTS).filter(|&page| self.page(0, page).is_some()).collect()
    }

    /// A new map at `start`.
    pub fn map(&mut self, area: Area, start: usize, pages: impl Iterator<Item = (Option<usize>, bool)>) {
        self.pieces += 1;
        let piece = self.pieces;
        for (at, (file, shared)) in (start..).zip(pages) {
            if at >= self.areas[area].len() {
                self.areas[area].resize(at + 1, None);
            }
            self.areas[area][at] = Some(Page { piece, file, shared });
        }
    }

    /// The range is a hole now; an island ends where its hole begins.
    pub fn unmap(&mut self, area: Area, range: Range<usize>) {
        if area == 0 {
            self.areas[0][range.start.min(PAGES)..range.end.min(PAGES)].fill(None);
        } else {
            self.areas[area].truncate(range.start);
        }
    }

    /// The range was treated apart from its neighbours: what it shares a piece with is another piece now.
    pub fn split(&mut self, area: Area, range: Range<usize>) {
        let mut renamed = BTreeMap::new();
        for at in range.start..range.end.min(self.len(area)) {
            if let Some(page) = &mut self.areas[area][at] {
                page.piece = *renamed.entry(page.piece).or_insert_with(|| {
                    self.pieces += 1;
                    self.pieces
                });
            }
        }
    }

    /// Whether the range is a part of one piece. Whether neighbouring pieces are one map or two for `mremap` depends
    /// on what the kernel merged, which is nobody's promise and has changed between kernels.
    pub fn is_one_piece(&self, area: Area, range: Range<usize>) -> bool {
        let first = self.page(area, range.start).map(|page| page.piece);
        first.is_some() && self.pages(area, range).all(|page| page.map(|page| page.piece) == first)
    }

    /// Whether there is private anonymous memory in the range.
    pub fn has_private_memory(&self, area: Area, range: Range<usize>) -> bool {
        self.pages(area, range).flatten().any(|page| page.file.is_none() && !page.shared)
    }

    /// The pages of the file that the range shows through shared maps.
    pub fn shared_file_pages(&self, area: Area, range: Range<usize>) -> BTreeSet<usize> {
        self.pages(area, range).flatten().filter(|page| page.shared).filter_map(|page| page.file).collect()
    }

    /// The pages of the file that any shared map shows.
    pub fn all_shared_file_pages(&self) -> BTreeSet<usize> {
        (0..self.areas.len()).flat_map(|area| self.shared_file_pages(area, 0..self.len(area))).collect()
    }

    /// `n` bytes from `byte` on were stored while the file had `size` bytes: notes what went past its end.
    pub fn stored(&mut self, area: Area, byte: usize, n: usize, size: usize) {
        let end_page = size / PAGE;
        for at in byte / PAGE..(byte + n).div_ceil(PAGE) {
            let into_tail = |page: &Page| page.shared && page.file == Some(end_page);
            if self.page(area, at).is_some_and(|page| into_tail(&page)) && byte + n > at * PAGE + size % PAGE
            {
                let from = self.tails.entry(end_page).or_insert(size % PAGE);
                *from = (*from).min(size % PAGE);
            }
        }
    }

    /// The bytes of a page that hold what the kernel leaves open. (Not the file's bytes after it grew: they are zero,
    /// and compared. Kernels before 6.13 could leave what was stored there.)
    /// What a program stored past the end of the file, in
    /// its last page, stays until the kernel writes the page out or drops it. A private page may have copied it then.
    pub fn open_bytes(&self, area: Area, page: usize, size: usize) -> Range<usize> {
        let Some(Page { file: Some(file), shared, .. }) = self.page(area, page) else { return PAGE..PAGE };
        let Some(&from) = self.tails.get(&file) else { return PAGE..PAGE };
        let end_of_file = size.saturating_sub(file * PAGE).min(PAGE);
        if shared { from.max(end_of_file)..PAGE } else { from..PAGE }
    }

    /// How many of `n` bytes come before the first that is open.
    pub fn specified(&self, area: Area, byte: usize, n: usize, size: usize) -> usize {
        for page in byte / PAGE..(byte + n).div_ceil(PAGE) {
            let open = self.open_bytes(area, page, size);
            if !open.is_empty() && byte + n > page * PAGE + open.start {
                return (page * PAGE + open.start).saturating_sub(byte);
            }
        }
        n
    }

    /// Blanks what is open in bytes that were loaded from `byte` on.
    pub fn blank_open(&self, area: Area, byte: usize, loaded: &mut [u8], size: usize) {
        let end = byte + loaded.len();
        for page in byte / PAGE..end.div_ceil(PAGE) {
            let open = self.open_bytes(area, page, size);
            let from = (page * PAGE + open.start).clamp(byte, end);
            let to = (page * PAGE + open.end).clamp(byte, end);
            loaded[from - byte..to - byte].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadow() -> Shadow {
        let mut shadow = Shadow::new();
        shadow.map(0, 2, (4..8).map(|file| (Some(file), true)));
        shadow
    }

    #[test]
    fn a_part_treated_apart_is_its_own_piece() {
        let mut shadow = shadow();
        assert!(shadow.is_one_piece(0, 2..6));
        shadow.split(0, 3..4);
        assert!(!shadow.is_one_piece(0, 2..6));
        assert!(shadow.is_one_piece(0, 3..4) && shadow.is_one_piece(0, 4..6));
        assert!(!shadow.is_one_piece(0, 5..7), "a hole is no piece");
    }

    #[test]
    fn only_a_store_past_the_end_opens_the_tail() {
        let mut shadow = shadow();
        let size = 5 * PAGE + 10;
        shadow.stored(0, 3 * PAGE, 10, size);
        assert!(shadow.open_bytes(0, 3, size).is_empty());
        shadow.stored(0, 3 * PAGE, 11, size);
        assert_eq!(shadow.open_bytes(0, 3, size), 10..PAGE);
        assert_eq!(shadow.open_bytes(0, 3, size + 5), 15..PAGE, "a byte of the file is what the file says");
        assert_eq!(shadow.specified(0, 2 * PAGE + 6, 2 * PAGE, size), PAGE + 4);
        let mut loaded = [7; 8];
        shadow.blank_open(0, 3 * PAGE + 6, &mut loaded, size);
        assert_eq!(loaded, [7, 7, 7, 7, 0, 0, 0, 0]);
    }
}
