//! What a journal looks like on the storage.
//!
//! ```text
//! 0      slot 0 ┐ one of them is current: the valid one with the greater generation
//! 4096   slot 1 ┘
//! 8192   part, part, part …       each a multiple of 4096 bytes
//! ```
//!
//! A **slot** has a generation, a salt and the identity of the file. A **part** has a head (magic, salt, number of the
//! commit and of the part, sizes, attempt, checksums), the bytes, and then where they belong. A commit is one or more parts, the
//! last of which says so. A checkpoint that is done writes the other slot with a new salt, which ends the validity of
//! all parts at once. All numbers are little-endian. Checksums are XXH3-64, seeded by the salt.

use twox_hash::XxHash3_64;

/// The unit of everything in a journal.
pub(super) const BLOCK: u64 = 4096;
/// Where the parts begin.
pub(super) const BEGIN: u64 = 2 * BLOCK;
/// The bytes of a part's head.
pub(super) const HEAD: usize = 72;
/// The bytes that say where one stretch belongs.
pub(super) const EXTENT: usize = 16;

const SLOT_MAGIC: [u8; 8] = *b"mapbackJ";
const PART_MAGIC: [u8; 8] = *b"mapbackP";
const VERSION: u64 = 1;
const SLOT: usize = 48;

fn get(bytes: &[u8], nth: usize) -> u64 {
    let at = nth * 8;
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn put(bytes: &mut [u8], nth: usize, value: u64) {
    bytes[nth * 8..nth * 8 + 8].copy_from_slice(&value.to_le_bytes());
}

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) generation: u64,
    pub(super) salt: u64,
    /// [`crate::store::Identity::lasting`] of the file.
    pub(super) file: u64,
}

/// What was found where a slot should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoundSlot {
    Valid(Slot),
    /// Never written.
    Blank,
    /// Made by a version of mapback that this one does not know.
    Foreign(u64),
    Damaged,
}

impl Slot {
    /// Where the slot of this generation is.
    pub(super) fn place(&self) -> u64 {
        self.generation % 2 * BLOCK
    }

    pub(super) fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[..8].copy_from_slice(&SLOT_MAGIC);
        put(&mut bytes, 1, VERSION);
        put(&mut bytes, 2, self.generation);
        put(&mut bytes, 3, self.salt);
        put(&mut bytes, 4, self.file);
        let check = XxHash3_64::oneshot(&bytes[..40]);
        put(&mut bytes, 5, check);
        bytes
    }

    /// Reads the slot at the beginning of a block, of which less may be there.
    pub(super) fn decode(block: &[u8], place: u64) -> FoundSlot {
        if block.iter().all(|b| *b == 0) {
            return FoundSlot::Blank;
        }
        if block.len() < SLOT || block[..8] != SLOT_MAGIC {
            return FoundSlot::Damaged;
        }
        if XxHash3_64::oneshot(&block[..40]) != get(block, 5) {
            return FoundSlot::Damaged;
        }
        if get(block, 1) != VERSION {
            return FoundSlot::Foreign(get(block, 1));
        }
        let slot = Slot { generation: get(block, 2), salt: get(block, 3), file: get(block, 4) };
        if slot.place() == place { FoundSlot::Valid(slot) } else { FoundSlot::Damaged }
    }
}

/// The head of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Counted from 1 in each generation.
    pub(super) commit: u64,
    /// Counted from 0 in each commit.
    pub(super) part: u32,
    /// This part ends its commit.
    pub(super) last: bool,
    /// The bytes of content.
    pub(super) payload: u64,
    pub(super) extents: u64,
    /// The same for all parts of one attempt at a commit, and for no other: what an earlier attempt left at the same
    /// place must not complete this one.
    pub(super) attempt: u64,
}

impl Head {
    /// The bytes of the whole part, padding included; `None` for nonsense.
    pub(super) fn size(&self) -> Option<u64> {
        let table = self.extents.checked_mul(EXTENT as u64)?;
        let all = (HEAD as u64).checked_add(self.payload)?.checked_add(table)?;
        all.checked_next_multiple_of(BLOCK)
    }

    /// Where in the part the table of extents begins.
    pub(super) fn table(&self) -> usize {
        HEAD + self.payload as usize
    }

    /// Completes a part: `bytes` has room for the head, then the content. The table is added, and the padding.
    pub(super) fn seal(&self, salt: u64, bytes: &mut Vec<u8>, extents: &[(u64, u64)]) {
        debug_assert_eq!(bytes.len(), self.table());
        for (off, len) in extents {
            bytes.extend(off.to_le_bytes());
            bytes.extend(len.to_le_bytes());
        }
        let body = XxHash3_64::oneshot_with_seed(self.seed(salt), &bytes[HEAD..]);
        let padded = bytes.len().next_multiple_of(BLOCK as usize);
        bytes.resize(padded, 0);
        bytes[..8].copy_from_slice(&PART_MAGIC);
        put(bytes, 1, salt);
        put(bytes, 2, self.commit);
        put(bytes, 3, u64::from(self.part) << 1 | u64::from(self.last));
        put(bytes, 4, self.payload);
        put(bytes, 5, self.extents);
        put(bytes, 6, body);
        put(bytes, 7, self.attempt);
        let check = XxHash3_64::oneshot(&bytes[..64]);
        put(bytes, 8, check);
    }

    /// Reads a head, if these bytes are one of this salt.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<(Head, u64)> {
        if bytes.len() < HEAD || bytes[..8] != PART_MAGIC || get(bytes, 1) != salt {
            return None;
        }
        if XxHash3_64::oneshot(&bytes[..64]) != get(bytes, 8) {
            return None;
        }
        let head = Head {
            commit: get(bytes, 2),
            part: u32::try_from(get(bytes, 3) >> 1).ok()?,
            last: get(bytes, 3) & 1 != 0,
            payload: get(bytes, 4),
            extents: get(bytes, 5),
            attempt: get(bytes, 7),
        };
        Some((head, get(bytes, 6)))
    }

    /// Whether a part, head and all, is what was written. `bytes` is as long as [`Head::size`] says.
    pub(super) fn is_whole(&self, salt: u64, body: u64, bytes: &[u8]) -> bool {
        let end = self.table() + self.extents as usize * EXTENT;
        XxHash3_64::oneshot_with_seed(self.seed(salt), &bytes[HEAD..end]) == body
    }

    /// Where the stretches of a part belong: offset and length.
    pub(super) fn extents<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = (u64, u64)> + use<'b> {
        let table = &bytes[self.table()..self.table() + self.extents as usize * EXTENT];
        table.chunks_exact(EXTENT).map(|e| (get(e, 0), get(e, 1)))
    }

    fn seed(&self, salt: u64) -> u64 {
        salt ^ self.commit.rotate_left(32) ^ u64::from(self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_back_and_damage_is_told_from_blank() {
        let slot = Slot { generation: 5, salt: 77, file: 3 };
        let mut bytes = slot.encode();
        assert_eq!(Slot::decode(&bytes, BLOCK), FoundSlot::Valid(slot));
        assert_eq!(Slot::decode(&bytes, 0), FoundSlot::Damaged, "in the wrong place");
        bytes[17] ^= 1;
        assert_eq!(Slot::decode(&bytes, BLOCK), FoundSlot::Damaged);
        assert_eq!(Slot::decode(&[0; 4096], 0), FoundSlot::Blank);
        assert_eq!(Slot::decode(&[], 0), FoundSlot::Blank);
    }

    #[test]
    fn parts_are_read_back_and_every_damaged_byte_is_noticed() {
        let extents = [(4096, 3), (9000, 2)];
        let head = Head { commit: 2, part: 1, last: true, payload: 5, extents: 2, attempt: 8 };
        let mut bytes = vec![0; HEAD];
        bytes.extend(b"abcde");
        head.seal(9, &mut bytes, &extents);
        assert_eq!(bytes.len() as u64, head.size().unwrap());
        let (found, body) = Head::decode(&bytes, 9).unwrap();
        assert_eq!(found, head);
        assert!(found.is_whole(9, body, &bytes));
        assert_eq!(found.extents(&bytes).collect::<Vec<_>>(), extents);
        assert!(Head::decode(&bytes, 8).is_none(), "another salt");
        for at in 0..HEAD + 5 + 2 * EXTENT {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x40;
            let read = Head::decode(&wrong, 9);
            assert!(read.is_none_or(|(h, body)| !h.is_whole(9, body, &wrong)), "byte {at}");
        }
    }
}
