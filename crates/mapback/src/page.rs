//! Arithmetic of pages.

use core::ops::Range;

/// Rounds down to a multiple of the page; `page` is a power of two.
pub(crate) fn floor(at: usize, page: usize) -> usize {
    at & !(page - 1)
}

/// Rounds up to a multiple of the page, `None` past the end of the address space.
pub(crate) fn ceil(at: usize, page: usize) -> Option<usize> {
    at.checked_add(page - 1).map(|up| floor(up, page))
}

/// Rounds a file offset up to a multiple of the page.
pub(crate) fn ceil64(at: u64, page: usize) -> u64 {
    at.div_ceil(page as u64) * page as u64
}

/// What two ranges have in common; empty if nothing.
pub(crate) fn common<T: Ord + Copy>(a: &Range<T>, b: &Range<T>) -> Range<T> {
    let start = a.start.max(b.start);
    let end = a.end.min(b.end);
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_multiples_and_refuses_overflow() {
        assert_eq!(floor(4097, 4096), 4096);
        assert_eq!(ceil(4096, 4096), Some(4096));
        assert_eq!(ceil(4097, 4096), Some(8192));
        assert_eq!(ceil(usize::MAX, 4096), None);
        assert_eq!(ceil64(1, 4096), 4096);
    }

    #[test]
    fn ranges_apart_have_nothing_in_common() {
        assert!(common(&(0..3), &(5..9)).is_empty());
        assert_eq!(common(&(0..6), &(5..9)), 5..6);
    }
}
