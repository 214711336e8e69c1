//! What the working copies of one file in this process know of each other, and of outsiders (I7).
//!
//! Each file that has a working copy has one entry here, found by its identity. It counts **generations**: one for each
//! write-back by a map of this process, and one for each change by others that was noticed. Files' times are too
//! coarse to tell two write-backs in one tick apart; the count is not.

use crate::error::{Conflict, How};
use crate::store::{Identity, JournalStore, Stat};
use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How many write-backs are remembered with their ranges; older ones count as of the whole file.
const REMEMBERED: usize = 1024;

static ENTRIES: Mutex<BTreeMap<u128, Weak<Entry>>> = Mutex::new(BTreeMap::new());

/// What is known of one file. Who has its lock is the only one in this process who loads or writes back.
#[derive(Debug)]
pub(crate) struct Entry {
    key: u128,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
pub(crate) struct Known {
    generation: u64,
    /// Generations and what of the file was written; the oldest first.
    changes: VecDeque<(u64, Range<u64>)>,
    /// Changes up to this generation are not in the list any more.
    forgotten: u64,
    /// The file as it was after the last load or write-back of ours.
    last: Option<Stat>,
    /// Commits that wait to be written to the file.
    pub(super) journal: Option<Journal>,
}

/// The journal of a file.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub(super) store: Arc<JournalStore>,
    /// Where it is, if it is a file that mapback made.
    pub(super) path: Option<PathBuf>,
}

impl Entry {
    /// The entry of a file, made if there is none.
    pub(crate) fn of(identity: &Identity) -> Arc<Entry> {
        let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&identity.key).and_then(Weak::upgrade) {
            return entry;
        }
        let entry = Arc::new(Entry { key: identity.key, known: Mutex::default() });
        entries.insert(identity.key, Arc::downgrade(&entry));
        entry
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Called by a map's end: if it was the last of its file, the journal is written to the file and removed.
pub(super) fn leave(entry: &Arc<Entry>) {
    // Nobody can get hold of the entry as long as the list is locked.
    let _entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    if Arc::strong_count(entry) > 1 {
        return;
    }
    let Some(Journal { store, path }) = entry.lock().journal.take() else { return };
    match (store.checkpoint(), path) {
        (Ok(()), Some(path)) => {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "cannot remove a journal that is not needed any more");
            }
        }
        (Ok(()), None) => {}
        (Err(error), _) => {
            tracing::error!(%error, "cannot write the journal to its file; it will be replayed when that is opened next");
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have made a new one since this one could no longer be had.
        if entries.get(&self.key).is_some_and(|entry| entry.strong_count() == 0) {
            entries.remove(&self.key);
        }
    }
}

impl Known {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Compares with the file as it is now: a change that is not ours gets a generation of its own.
    pub(super) fn notice(&mut self, now: Stat) {
        if self.last.is_some_and(|last| last != now) {
            self.add(0..u64::MAX);
        }
        self.last = Some(now);
    }

    /// Notes a write-back of ours, after which the file is as in `now`; `None` if it did not say. What others do up to
    /// the next look at the file goes unnoticed then: that is better than to take our own write for theirs.
    pub(super) fn wrote(&mut self, range: Range<u64>, now: Option<Stat>) {
        self.add(range);
        self.last = now;
    }

    /// Notes that the file's times were changed by us, but not what its maps show.
    pub(super) fn touched(&mut self, now: Option<Stat>) {
        self.last = now;
    }

    fn add(&mut self, range: Range<u64>) {
        self.generation += 1;
        self.changes.push_back((self.generation, range));
        if self.changes.len() > REMEMBERED
            && let Some((generation, _)) = self.changes.pop_front()
        {
            self.forgotten = generation;
        }
    }

    /// Whether others changed bytes of `range` since generation `seen`, when the file was as in `then`.
    pub(super) fn conflict(
        &self,
        seen: u64,
        then: Stat,
        range: &Range<u64>,
        file: &Path,
    ) -> Option<Conflict> {
        let newer = self.changes.iter().filter(|(generation, _)| *generation > seen);
        let mut hits = newer.filter(|(_, change)| change.start < range.end && range.start < change.end);
        let first =
            if seen < self.forgotten { Some(0..u64::MAX) } else { hits.next().map(|(_, r)| r.clone()) };
        let how = match (first?, self.last) {
            (change, _) if change != (0..u64::MAX) => How::Sibling(change),
            (_, Some(now)) if now.len != then.len => How::Length { was: then.len, is: now.len },
            _ => How::Modified,
        };
        Some(Conflict { file: file.to_path_buf(), how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(len: u64, version: u64) -> Stat {
        Stat { len, version }
    }

    fn conflicts(known: &Known, seen: u64, range: Range<u64>) -> bool {
        known.conflict(seen, stat(10, 1), &range, Path::new("f")).is_some()
    }

    #[test]
    fn an_outsiders_change_concerns_every_map_and_only_once() {
        let mut known = Known::default();
        known.notice(stat(10, 1));
        let seen = known.generation();
        known.notice(stat(10, 1));
        assert!(!conflicts(&known, seen, 0..10));
        known.notice(stat(10, 2));
        assert!(conflicts(&known, seen, 3..4));
        assert!(!conflicts(&known, known.generation(), 3..4));
    }

    #[test]
    fn a_siblings_write_back_concerns_maps_of_the_same_bytes_only() {
        let mut known = Known::default();
        known.notice(stat(10, 1));
        let seen = known.generation();
        known.wrote(4..8, Some(stat(10, 2)));
        known.notice(stat(10, 2));
        assert!(conflicts(&known, seen, 0..5));
        assert!(!conflicts(&known, seen, 0..4));
        assert!(!conflicts(&known, seen, 8..10));
    }

    #[test]
    fn what_is_forgotten_counts_as_the_whole_file() {
        let mut known = Known::default();
        known.notice(stat(10, 1));
        for n in 0..REMEMBERED as u64 + 2 {
            known.wrote(4..8, Some(stat(10, n)));
        }
        assert!(conflicts(&known, 0, 0..1));
        assert!(!conflicts(&known, known.generation() - 1, 0..1));
    }
}
