//! Cells of 8 bytes that tell whether they are whole, and which of their owner's stores they hold.

/// How many bits of a cell count stores; the rest is a check.
const ORDER_BITS: u32 = 40;

/// What cell `index` holds after its owner's store number `order`; 0 is the fresh file.
pub fn value(index: u64, order: u64) -> u64 {
    assert!(order >> ORDER_BITS == 0, "so many stores have no room in a cell");
    mix(index, order) << ORDER_BITS | order
}

/// Which store cell `index` holds; `None` if that is torn, or another cell's.
pub fn order(index: u64, found: u64) -> Option<u64> {
    let order = found & ((1 << ORDER_BITS) - 1);
    (value(index, order) == found).then_some(order)
}

/// The finish of splitmix64 over both numbers: each bit depends on all.
fn mix(index: u64, order: u64) -> u64 {
    let mut bits = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ order.wrapping_add(0x632b_e59b_d9b4_e019);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// The bytes of a fresh file of so many cells.
pub fn fresh(cells: u64) -> Vec<u8> {
    (0..cells).flat_map(|index| value(index, 0).to_ne_bytes()).collect()
}

/// The numbers of a file's bytes; a rest that is no whole cell is left out.
pub fn of_bytes(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).map(|cell| u64::from_ne_bytes(cell.try_into().expect("8 bytes")))
}

/// A digest that depends on the order.
pub fn digest(cells: impl Iterator<Item = u64>) -> i64 {
    cells.fold(0, |sum: u64, cell| (sum.rotate_left(5) ^ cell).wrapping_mul(0x9e37_79b9_7f4a_7c15)) as i64
}

/// The cells to which one of several owners stores, one after the other: the same each time.
///
/// Cell `n` belongs to owner `n % owners`, so that each page is everybody's.
pub struct Course {
    random: fastrand::Rng,
    owner: u64,
    owners: u64,
    cells: u64,
}

impl Course {
    /// The course of `owner` among `owners` through so many cells.
    pub fn new(owner: u64, owners: u64, cells: u64) -> Course {
        assert!(cells.is_multiple_of(owners), "everybody has as many cells");
        Course { random: fastrand::Rng::with_seed(owner), owner, owners, cells }
    }

    /// The next cell.
    #[allow(clippy::should_implement_trait)] // it has no end
    pub fn next(&mut self) -> u64 {
        self.random.u64(0..self.cells / self.owners) * self.owners + self.owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_tells_its_store_and_a_torn_one_does_not() {
        for (index, store) in [(0, 0), (1, 5), (8_388_607, 123_456_789)] {
            assert_eq!(order(index, value(index, store)), Some(store));
            assert_eq!(order(index + 1, value(index, store)), None, "another cell's");
        }
        let (old, new) = (value(7, 1), value(7, 0x1_0000_0002));
        assert_eq!(order(7, old & 0xffff_ffff | new & !0xffff_ffff), None, "half of each");
        assert_eq!(order(7, 0), None, "a hole");
    }
}
