//! What a control block says, and how it stands in the file.
//!
//! The file is read and written by `pread` and `pwrite` alone: whoever cuts it short or scribbles over it makes a
//! record that does not decode, never a fault. Each record is written by one call.

use crate::store::Stamp;
use crate::sys::os::file::{FileId, digest};
use core::ops::Range;

/// Bytes of the record of the image.
pub(super) const RECORD: usize = 64;
/// Where the identity and the name stand.
pub(super) const HEADER: Range<u64> = 512..4096;
/// Where the slots begin.
pub(super) const SLOTS: u64 = 4096;
/// Bytes of a slot.
pub(super) const SLOT: usize = 64;
/// Processes that can have one image at a time.
pub(super) const MOST_SLOTS: usize = 1024;

const MAGIC: u64 = u64::from_le_bytes(*b"mapback3");

/// How far an image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing, or a part, has been loaded, and nobody has a map.
    #[default]
    Empty,
    /// The content is there.
    Ready,
}

/// The state of an image that its processes share. Changed under the `io` lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) stage: Stage,
    /// Somebody is changing the file: if it is not one that lives, nobody knows of what was changed.
    pub(crate) busy: bool,
    /// What it puts there is what the image has.
    pub(crate) ours: bool,
    /// There has been a second process, so that no process alone knows what stands in the store.
    pub(crate) shared: bool,
    /// Something of a process that died could not be written back, because others had changed the file.
    pub(crate) conflict: bool,
    /// The file when image and file were last one, but for changes not yet written back.
    pub(crate) stamp: Stamp,
}

impl Record {
    pub(super) fn encode(&self) -> [u8; RECORD] {
        let flags = u64::from(self.stage == Stage::Ready)
            | u64::from(self.busy) << 1
            | u64::from(self.shared) << 2
            | u64::from(self.conflict) << 3
            | u64::from(self.ours) << 4;
        let mut bytes = [0; RECORD];
        put(&mut bytes, &[MAGIC, flags, self.stamp.len, self.stamp.mtime as u64]);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; RECORD]) -> Option<Record> {
        let [magic, flags, len, mtime] = get(bytes)?;
        let bit = |n: u32| flags & (1 << n) != 0;
        (magic == MAGIC && flags < 32).then_some(Record {
            stage: if bit(0) { Stage::Ready } else { Stage::Empty },
            busy: bit(1),
            shared: bit(2),
            conflict: bit(3),
            ours: bit(4),
            stamp: Stamp { len, mtime: mtime as i64 },
        })
    }
}

/// One process that has the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) pid: i32,
    /// It may have stored what has not been written back. If not, its death leaves nothing to do.
    pub(crate) owes: bool,
    /// It compares with a copy of what it knows to stand in the store, so that nobody else should write there unasked.
    pub(crate) exact: bool,
    /// Where the library's own view of the memory lies there, which no tracker watches.
    pub(crate) window: Range<usize>,
}

impl Slot {
    pub(super) fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        let flags = (self.pid as u64) << 2 | u64::from(self.exact) << 1 | u64::from(self.owes);
        put(&mut bytes, &[MAGIC, flags, self.window.start as u64, self.window.end as u64]);
        bytes
    }

    /// `None`: nobody is entered. What does not decode was somebody who may owe something.
    pub(super) fn decode(bytes: &[u8; SLOT]) -> Option<Slot> {
        if *bytes == [0; SLOT] {
            return None;
        }
        let Some([MAGIC, flags, start, end]) = get(bytes) else {
            return Some(Slot { owes: true, ..Slot::default() });
        };
        let window = start as usize..end as usize;
        Some(Slot { pid: (flags >> 2) as i32, owes: flags & 1 != 0, exact: flags & 2 != 0, window })
    }
}

/// The identity and the name of the file, in the header.
pub(super) fn encode_header(id: &FileId, name: &[u8]) -> Vec<u8> {
    let room = (HEADER.end - HEADER.start) as usize - 64;
    let name = if name.len() <= room { name } else { &[] };
    let birth = id.birth as u128;
    let words =
        [id.dev, id.ino, birth as u64, (birth >> 64) as u64, id.handle, name.len() as u64, digest(name)];
    let mut bytes = vec![0; 64];
    put(&mut bytes, &words);
    bytes.extend_from_slice(name);
    bytes
}

/// As [`encode_header`] wrote it.
pub(super) fn decode_header(bytes: &[u8]) -> Option<(FileId, Vec<u8>)> {
    let [dev, ino, low, high, handle, len, name_digest] = get(bytes.get(..64)?)?;
    let name = bytes.get(64..64usize.checked_add(usize::try_from(len).ok()?)?)?;
    let birth = (u128::from(high) << 64 | u128::from(low)) as i128;
    (digest(name) == name_digest).then(|| (FileId { dev, ino, birth, handle }, name.to_vec()))
}

/// Writes words, and behind them, last in `bytes`, their digest.
fn put(bytes: &mut [u8], words: &[u64]) {
    for (word, to) in words.iter().zip(bytes.chunks_exact_mut(8)) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let end = bytes.len() - 8;
    let sum = digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
}

fn get<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let word = |nth: usize| {
        let bytes = bytes.get(nth * 8..nth * 8 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let last = bytes.len() / 8 - 1;
    if word(last)? != digest(&bytes[..last * 8]) {
        return None;
    }
    let mut words = [0; N];
    for (nth, to) in words.iter_mut().enumerate() {
        *to = word(nth)?;
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let stamp = Stamp { len: 77, mtime: -5 };
        Record { stage: Stage::Ready, busy: true, ours: true, shared: false, conflict: true, stamp }
    }

    #[test]
    fn what_was_written_is_read_and_no_flipped_bit_passes() {
        let bytes = record().encode();
        assert_eq!(Record::decode(&bytes), Some(record()));
        let slot = Slot { pid: 4711, owes: true, exact: false, window: 4096..1 << 40 };
        let slot_bytes = slot.encode();
        assert_eq!(Slot::decode(&slot_bytes), Some(slot.clone()));
        for bit in 0..512 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&flipped), None);
            let mut flipped = slot_bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Slot::decode(&flipped).is_some_and(|s| s.owes && s.pid == 0));
        }
        assert_eq!(Slot::decode(&[0; SLOT]), None);
        assert_eq!(Record::decode(&[0; RECORD]), None);
    }

    #[test]
    fn the_header_keeps_identity_and_name() {
        let id = FileId { dev: 1, ino: u64::MAX, birth: -7, handle: 9 };
        let bytes = encode_header(&id, b"/a/b\xff");
        assert_eq!(decode_header(&bytes), Some((id, b"/a/b\xff".to_vec())));
        for len in 0..bytes.len() {
            assert_eq!(decode_header(&bytes[..len]), None);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(&flipped), None);
        }
    }
}
