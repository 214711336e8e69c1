//! Writing a journal: parts, commits, checkpoints.

use super::JournalOptions;
use super::format::{BEGIN, BLOCK, HEAD, Head, Slot};
use super::index::Index;
use super::scan::Scan;
use crate::store::seam::{Store, Write, read_full, write_full};
use std::io;
use std::sync::Arc;

/// The journal grows by this much at the least.
const STEP: u64 = if cfg!(miri) { 8 << 10 } else { 1 << 20 };
/// And by this much more than is asked for at the most.
const RESERVE: u64 = 64 << 20;
/// So much behind a small commit is filled with zeros at a time: to sync a write over what was written before takes the file
/// system two thirds of the time that it takes where there was only room (measured on ext4).
const AHEAD: u64 = if cfg!(miri) { 8 << 10 } else { 512 << 10 };
/// The longest stretch that a checkpoint moves at a time.
const PIECE: u64 = 1 << 20;
/// What a checkpoint holds in memory: one batch, so that a store may work on many writes at once.
const HELD: usize = if cfg!(miri) { 2 << 20 } else { 16 << 20 };

/// The journal's end that is written to.
pub(super) struct Log {
    medium: Arc<dyn Store>,
    slot: Slot,
    /// The slot could not be synced, so that nobody knows which of the two is in force. Both mean the same until
    /// something else is written, to the journal or to its store.
    unsettled: bool,
    limit: u64,
    /// The content of one part at the most.
    most: usize,
    /// The length that the medium is known to have.
    len: u64,
    /// Up to here the medium is known to have been written.
    written: u64,
    committed: Index,
    commit: u64,
    /// The end of the last commit.
    tail: u64,
    open: Open,
}

/// The commit that is being made.
#[derive(Default)]
struct Open {
    attempt: u64,
    staged: Index,
    part: u32,
    /// Where the part in `bytes` will go.
    at: u64,
    /// Room for a head, and content.
    bytes: Vec<u8>,
    extents: Vec<(u64, u64)>,
    /// Something of it could not be written, so that it must not be committed.
    broken: bool,
}

impl Log {
    pub(super) fn new(medium: Arc<dyn Store>, found: Scan, fresh: Slot, options: &JournalOptions) -> Log {
        let open = Open { at: found.tail, ..Open::default() };
        Log {
            medium,
            slot: found.slot.unwrap_or(fresh),
            unsettled: false,
            limit: options.limit,
            most: options.part.max(1),
            len: 0,
            written: found.tail,
            committed: found.index,
            commit: found.commit,
            tail: found.tail,
            open,
        }
    }

    /// Makes a journal that was never used. Nothing may follow before it is synced: a slot that is torn must be
    /// alone.
    pub(super) fn create(&mut self) -> io::Result<()> {
        self.grow(BEGIN)?;
        write_full(&*self.medium, &self.slot.encode(), self.slot.place())?;
        self.medium.sync()
    }

    pub(super) fn committed(&self) -> &Index {
        &self.committed
    }

    pub(super) fn staged(&self) -> &Index {
        &self.open.staged
    }

    /// Whether a checkpoint should be made once the commit under way is done.
    pub(super) fn is_full(&self) -> bool {
        self.open.at + self.open.bytes.len() as u64 > self.limit
    }

    /// Takes writes into the commit under way.
    pub(super) fn stage(&mut self, batch: &mut [Write<'_>]) {
        for write in batch {
            while write.done < write.bytes.len() {
                if let Err(error) = self.stage_piece(write) {
                    self.open.broken = true;
                    write.error = Some(error);
                    break;
                }
            }
        }
    }

    fn stage_piece(&mut self, write: &mut Write<'_>) -> io::Result<()> {
        let open = &mut self.open;
        if open.bytes.is_empty() {
            open.bytes.resize(HEAD, 0);
        }
        if open.staged.is_empty() {
            open.attempt = super::random();
        }
        let len = (write.bytes.len() - write.done).min(self.most - (open.bytes.len() - HEAD));
        let off = write.off + write.done as u64;
        open.staged.add(off, len as u64, open.at + open.bytes.len() as u64);
        open.bytes.extend(&write.bytes[write.done..write.done + len]);
        match open.extents.last_mut() {
            Some(last) if last.0 + last.1 == off => last.1 += len as u64,
            _ => open.extents.push((off, len as u64)),
        }
        write.done += len;
        if open.bytes.len() - HEAD == self.most { self.write_part(false) } else { Ok(()) }
    }

    fn write_part(&mut self, last: bool) -> io::Result<()> {
        self.settle()?;
        let mut bytes = core::mem::take(&mut self.open.bytes);
        let extents = core::mem::take(&mut self.open.extents);
        if bytes.is_empty() {
            bytes.resize(HEAD, 0);
        }
        let head = Head {
            commit: self.commit + 1,
            part: self.open.part,
            last,
            payload: (bytes.len() - HEAD) as u64,
            extents: extents.len() as u64,
            attempt: self.open.attempt,
        };
        head.seal(self.slot.salt, &mut bytes, &extents);
        let end = self.open.at + bytes.len() as u64;
        self.grow(end)?;
        write_full(&*self.medium, &bytes, self.open.at)?;
        self.fill_ahead(end, last && head.part == 0 && bytes.len() as u64 <= AHEAD);
        self.open.at = end;
        self.open.part += 1;
        if bytes.capacity() <= 2 * self.most.max(HEAD) {
            // Kept for the next part.
            bytes.clear();
            self.open.bytes = bytes;
        }
        Ok(())
    }

    /// Makes sure of room in the medium, some in advance.
    fn grow(&mut self, end: u64) -> io::Result<()> {
        if self.len == 0 {
            self.len = self.medium.stat()?.len;
        }
        if end > self.len {
            let len = end.saturating_add((end / 2).min(RESERVE)).next_multiple_of(STEP);
            self.medium.resize(len)?;
            self.len = len;
        }
        Ok(())
    }

    /// After a part up to `end`: if it is a `small` commit, makes the next ones of its size fall on what was written before.
    fn fill_ahead(&mut self, end: u64, small: bool) {
        if end <= self.written {
            return;
        }
        self.written = end;
        let zeros = AHEAD.min(self.len.saturating_sub(end));
        // Where it fails the next part finds out.
        if small && write_full(&*self.medium, &vec![0; zeros as usize], end).is_ok() {
            self.written += zeros;
        }
    }

    /// Ends the commit under way with one sync of the medium.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        if self.open.broken {
            self.abort();
            return Err(io::Error::other("a part of the commit could not be written to the journal"));
        }
        if self.open.staged.is_empty() {
            return Ok(());
        }
        let done = self.write_part(true).and_then(|()| self.medium.sync());
        if done.is_err() {
            // Whether it is on the storage nobody knows. The next commit has the same number and the same place.
            self.abort();
            return done;
        }
        self.committed.append(core::mem::take(&mut self.open.staged));
        self.commit += 1;
        self.tail = self.open.at;
        self.open.part = 0;
        Ok(())
    }

    /// Forgets the commit under way.
    pub(super) fn abort(&mut self) {
        self.open = Open { at: self.tail, ..Open::default() };
    }

    /// Puts the newest bytes over what was read from the store.
    pub(super) fn overlay(&self, buf: &mut [u8], off: u64) -> io::Result<()> {
        for index in [&self.committed, &self.open.staged] {
            for (range, place) in index.inside(off..off + buf.len() as u64) {
                let to = &mut buf[(range.start - off) as usize..(range.end - off) as usize];
                if place >= self.open.at {
                    // Not yet written. The part's place is that of its first byte in memory.
                    let from = (place - self.open.at) as usize;
                    to.copy_from_slice(&self.open.bytes[from..from + to.len()]);
                } else if read_full(&*self.medium, to, place)? < to.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(())
    }

    /// Writes what is committed to its store and begins the journal anew, with this salt.
    pub(super) fn checkpoint(&mut self, inner: &dyn Store, salt: u64) -> io::Result<()> {
        // The store may be shorter than it was, and must not get longer.
        let end = inner.stat()?.len;
        let mut batch = Batch::new();
        for (range, place) in self.committed.inside(0..end) {
            let mut at = range.start;
            while at < range.end {
                let len = (range.end - at).min(PIECE) as usize;
                if batch.room() < len {
                    batch.write(inner)?;
                }
                let piece = batch.add(at, len);
                if read_full(&*self.medium, piece, place + (at - range.start))? < len {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                at += len as u64;
            }
        }
        batch.write(inner)?;
        inner.sync()?;
        self.slot = Slot { generation: self.slot.generation + 1, salt, ..self.slot };
        self.unsettled = true;
        self.committed.clear();
        self.commit = 0;
        self.tail = BEGIN;
        self.open.at = BEGIN;
        self.settle()
    }

    /// Makes sure that the slot is on the storage: before that, old commits must neither be overwritten nor be
    /// contradicted by the store.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.unsettled {
            write_full(&*self.medium, &self.slot.encode(), self.slot.place())?;
            self.medium.sync()?;
            self.unsettled = false;
        }
        Ok(())
    }
}

/// Pieces of the store that are written together.
///
/// Each begins at a multiple of [`BLOCK`] in memory, as writes past the page cache want it.
struct Batch {
    memory: Vec<u8>,
    /// The first such multiple, and the end of what is in use.
    begin: usize,
    used: usize,
    /// Where in the store, where in the memory, how many bytes.
    pieces: Vec<(u64, usize, usize)>,
}

impl Batch {
    fn new() -> Batch {
        let memory = vec![0; HELD + BLOCK as usize];
        let begin = memory.as_ptr().align_offset(BLOCK as usize).min(BLOCK as usize);
        Batch { memory, begin, used: begin, pieces: Vec::new() }
    }

    /// How long the next piece may be.
    fn room(&self) -> usize {
        self.begin + HELD - self.used
    }

    /// Adds a piece, to be filled. There has to be room.
    fn add(&mut self, off: u64, len: usize) -> &mut [u8] {
        let at = self.used;
        self.pieces.push((off, at, len));
        self.used = (at + len - self.begin).next_multiple_of(BLOCK as usize) + self.begin;
        &mut self.memory[at..at + len]
    }

    /// Writes all pieces and forgets them. The first error is returned.
    fn write(&mut self, store: &dyn Store) -> io::Result<()> {
        let part = |(off, at, len): (u64, usize, usize)| Write::new(off, &self.memory[at..at + len]);
        let mut batch: Vec<Write<'_>> = self.pieces.drain(..).map(part).collect();
        store.write(&mut batch);
        for write in batch {
            let whole = write.missing().is_empty();
            match write.error {
                Some(error) => return Err(error),
                None if !whole => return Err(io::ErrorKind::WriteZero.into()),
                None => {}
            }
        }
        self.used = self.begin;
        Ok(())
    }
}

const _: () = assert!(PIECE <= HELD as u64 && (HELD as u64).is_multiple_of(BLOCK));
const _: () = assert!(BLOCK.is_multiple_of(512) && BEGIN.is_multiple_of(BLOCK));
