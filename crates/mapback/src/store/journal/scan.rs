//! Reading a journal: which commits are in it, and whether it may be believed.

use super::format::{BEGIN, BLOCK, FoundSlot, HEAD, Head, Slot};
use super::{Index, JournalError};
use crate::store::seam::{Store, read_full};
use std::io;

/// What a journal holds.
pub(super) struct Scan {
    /// `None`: it was never used.
    pub(super) slot: Option<Slot>,
    /// Where the bytes of each committed stretch are.
    pub(super) index: Index,
    /// Where the next part goes.
    pub(super) tail: u64,
    /// The number of the last commit.
    pub(super) commit: u64,
}

/// Reads a journal whole.
///
/// What a crash can leave is taken for what it is: a slot or a last commit that is torn. Anything else that does not
/// fit is damage, and an error.
pub(super) fn scan(medium: &dyn Store, file: u64) -> Result<Scan, JournalError> {
    let len = medium.stat().map_err(JournalError::Read)?.len;
    let (slot, doubtful) = current_slot(medium, len)?;
    let Some(slot) = slot else {
        return Ok(Scan { slot: None, index: Index::new(), tail: BEGIN, commit: 0 });
    };
    if slot.file != file {
        return Err(JournalError::OtherFile);
    }
    let mut found = Scan { slot: Some(slot), index: Index::new(), tail: BEGIN, commit: 0 };
    let end = read_commits(medium, slot.salt, len, &mut found)?;
    if let Some(at) = later_commit(medium, slot.salt, end, len, found.commit + 1)? {
        return Err(JournalError::Damaged { at: end, why: format!("a later commit follows at {at}") });
    }
    if doubtful && found.commit == 0 {
        // A checkpoint that was cut while it changed the slot leaves the commits of the old one as they were.
        return Err(JournalError::Damaged {
            at: 0,
            why: "a slot is unreadable, and no commit is there".into(),
        });
    }
    Ok(found)
}

/// The slot that is in force, and whether the other one is unreadable.
fn current_slot(medium: &dyn Store, len: u64) -> Result<(Option<Slot>, bool), JournalError> {
    let mut best: Option<Slot> = None;
    let mut damaged = false;
    for place in [0, BLOCK] {
        let mut block = [0; BLOCK as usize];
        let n = read_full(medium, &mut block, place).map_err(JournalError::Read)?;
        match Slot::decode(&block[..n], place) {
            FoundSlot::Valid(slot) => {
                if best.is_none_or(|b| b.generation < slot.generation) {
                    best = Some(slot);
                }
            }
            FoundSlot::Blank => {}
            FoundSlot::Foreign(version) => return Err(JournalError::Version(version)),
            FoundSlot::Damaged => damaged = true,
        }
    }
    if best.is_none() && damaged {
        // The first slot was torn when the journal was made: then nothing came after it yet.
        if let Some(at) = first_data(medium, BEGIN, len)? {
            return Err(JournalError::Damaged {
                at: 0,
                why: format!("no slot is readable, and there is data at {at}"),
            });
        }
        return Ok((None, false));
    }
    Ok((best, damaged))
}

/// Reads commits from the beginning on. Returns where it stopped: at what is not a part of the next commit.
fn read_commits(medium: &dyn Store, salt: u64, len: u64, found: &mut Scan) -> Result<u64, JournalError> {
    let mut at = BEGIN;
    let mut part = 0;
    let mut attempt = 0;
    let mut open: Vec<(u64, u64, u64)> = Vec::new();
    let mut bytes = Vec::new();
    loop {
        let mut head = [0; HEAD];
        let n = read_full(medium, &mut head, at).map_err(JournalError::Read)?;
        let Some((head, body)) = Head::decode(&head[..n], salt) else { return Ok(at) };
        let fits = head.size().filter(|size| at.checked_add(*size).is_some_and(|end| end <= len));
        let Some(size) = fits else { return Ok(at) };
        if head.commit != found.commit + 1 || head.part != part || (part > 0 && head.attempt != attempt) {
            return Ok(at);
        }
        attempt = head.attempt;
        bytes.resize(size as usize, 0);
        let n = read_full(medium, &mut bytes, at).map_err(JournalError::Read)?;
        if n < bytes.len() || !head.is_whole(salt, body, &bytes) {
            return Ok(at);
        }
        let mut from = at + HEAD as u64;
        for (off, len) in head.extents(&bytes) {
            open.push((off, len, from));
            from += len;
        }
        at += size;
        part += 1;
        if head.last {
            found.commit += 1;
            found.tail = at;
            part = 0;
            for (off, len, from) in open.drain(..) {
                found.index.add(off, len, from);
            }
        }
    }
}

/// Looks for a part of a later commit than `next` behind the point at which reading stopped. A commit is begun only
/// when the one before it is on the storage, so that finding one means that an earlier one was damaged.
fn later_commit(
    medium: &dyn Store,
    salt: u64,
    from: u64,
    len: u64,
    next: u64,
) -> Result<Option<u64>, JournalError> {
    let found = |head: &[u8]| Head::decode(head, salt).is_some_and(|(head, _)| head.commit > next);
    find_block(medium, from, len, found)
}

fn first_data(medium: &dyn Store, from: u64, len: u64) -> Result<Option<u64>, JournalError> {
    find_block(medium, from, len, |block| block.iter().any(|b| *b != 0))
}

fn find_block(
    medium: &dyn Store,
    from: u64,
    len: u64,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<Option<u64>, JournalError> {
    let mut chunk = vec![0; if cfg!(miri) { 8 << 10 } else { 1 << 20 }];
    let mut at = from;
    while at < len {
        // A journal is preallocated, and most of it was never written.
        let Some(data) = medium.data(at..len) else { return Ok(None) };
        at = data.start / BLOCK * BLOCK;
        let n = read_full(medium, &mut chunk, at).map_err(JournalError::Read)?;
        if n == 0 {
            return Ok(None);
        }
        for (nth, block) in chunk[..n].chunks(BLOCK as usize).enumerate() {
            if wanted(block) {
                return Ok(Some(at + nth as u64 * BLOCK));
            }
        }
        at += n as u64;
    }
    Ok(None)
}

impl From<JournalError> for io::Error {
    fn from(error: JournalError) -> io::Error {
        let kind = match &error {
            JournalError::Read(e) | JournalError::Open(e) => e.kind(),
            JournalError::InUse => io::ErrorKind::WouldBlock,
            JournalError::Waiting(_) | JournalError::Stranger => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
