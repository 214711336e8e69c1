//! A write-ahead journal around another store: what is written between two syncs reaches the store whole or not at all.
//!
//! A commit is appended to the journal and synced there, once. The store itself is written later, at a **checkpoint**:
//! the newest bytes of each stretch are read back from the journal, written to the store and synced there; then the
//! journal is begun anew. A crash leaves a journal that is **replayed** when it is opened next.
//!
//! What the medium is assumed to do: what was synced stays; what was not synced survives in any part and in any order,
//! in pieces of a sector; a sync that fails leaves everything since the last one in doubt. Nothing is assumed about the
//! order or the atomicity of writes between two syncs.

mod error;
mod format;
mod index;
mod log;
mod scan;

pub use error::JournalError;

use super::seam::{Identity, Stat, Store, Write, read_full};
use core::ops::Range;
use format::Slot;
use index::Index;
use log::Log;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a [`JournalStore`] behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JournalOptions {
    /// Bytes of journal from which on a checkpoint is made before the next commit. One commit that is larger is
    /// still written whole. The default is 64 MiB.
    pub limit: u64,
    /// The store may only be read: commits that a crash left in the journal are shown, and not written to the store.
    pub read_only: bool,
    /// Bytes of a commit that are held in memory at the most. A larger commit is written in several parts, and is one
    /// all the same. The default is 1 MiB, so that the storage has something to do while the next part is made.
    pub part: usize,
}

impl JournalOptions {
    /// Sets [`limit`](JournalOptions::limit).
    pub fn limit(mut self, bytes: u64) -> JournalOptions {
        self.limit = bytes;
        self
    }

    /// Sets [`read_only`](JournalOptions::read_only).
    pub fn read_only(mut self, yes: bool) -> JournalOptions {
        self.read_only = yes;
        self
    }

    /// Sets [`part`](JournalOptions::part); 0 counts as 1.
    pub fn part(mut self, bytes: usize) -> JournalOptions {
        self.part = bytes.max(1);
        self
    }
}

impl Default for JournalOptions {
    fn default() -> JournalOptions {
        JournalOptions { limit: 64 << 20, read_only: false, part: 1 << 20 }
    }
}

/// A store whose syncs are atomic: what is written between two of them reaches the store whole or not at all, whenever
/// the system crashes.
///
/// Reading shows what was written, committed or not. Another reader of the inner store sees a commit only after the
/// next [`checkpoint`](JournalStore::checkpoint). One is made when the journal is full and when the `JournalStore` is
/// dropped.
///
/// # Examples
///
/// ```
/// use mapback::store::{JournalStore, MemoryStore, Store, write_full};
/// use std::sync::Arc;
///
/// let inner = Arc::new(MemoryStore::new(vec![0; 8192]));
/// let journal = Arc::new(MemoryStore::new(Vec::new()));
/// let store = JournalStore::open(inner.clone(), journal, Default::default())?;
/// write_full(&store, b"both", 0)?;
/// write_full(&store, b"or none", 4096)?;
/// store.sync()?; // one sync of the journal: committed
/// store.checkpoint()?;
/// assert_eq!(&inner.to_vec()[..4], b"both");
/// # std::io::Result::Ok(())
/// ```
pub struct JournalStore {
    inner: Arc<dyn Store>,
    log: Mutex<Log>,
    read_only: bool,
}

impl JournalStore {
    /// Puts a journal before a store. Commits that are in it are replayed first.
    ///
    /// `medium` is where the journal lives. It has to be [resizable](Store::resize), and nobody else's.
    ///
    /// # Errors
    /// A journal that cannot be read, that belongs to another file, or that is damaged in a way that no crash
    /// explains: [`JournalError`], inside an [`io::Error`]. The store is not touched then.
    pub fn open(
        inner: Arc<dyn Store>,
        medium: Arc<dyn Store>,
        options: JournalOptions,
    ) -> io::Result<JournalStore> {
        let file = inner.identity()?.lasting;
        let found = scan::scan(&*medium, file)?;
        let fresh = Slot { generation: 0, salt: random(), file };
        let used = found.slot.is_some();
        let mut log = Log::new(medium, found, fresh, &options);
        if !options.read_only {
            if !used {
                log.create()?;
            } else if !log.committed().is_empty() {
                log.checkpoint(&*inner, random())?;
            }
        }
        Ok(JournalStore { inner, log: Mutex::new(log), read_only: options.read_only })
    }

    /// Writes what is committed to the inner store, syncs it, and begins the journal anew.
    ///
    /// # Errors
    /// Those of the two stores; a write that was not synced yet. Nothing is lost: the commits stay in the journal.
    pub fn checkpoint(&self) -> io::Result<()> {
        let mut log = self.log();
        if self.read_only {
            return Ok(());
        }
        if !log.staged().is_empty() {
            return Err(io::Error::other("no checkpoint can be made between a write and its sync"));
        }
        if log.committed().is_empty() { log.settle() } else { log.checkpoint(&*self.inner, random()) }
    }

    /// Forgets what was written since the last [`sync`](Store::sync).
    pub fn abort(&self) {
        self.log().abort();
    }

    /// How many bytes of the store are committed and wait for a checkpoint.
    pub fn pending(&self) -> u64 {
        self.log().committed().bytes()
    }

    /// The store behind the journal.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for JournalStore {
    fn identity(&self) -> io::Result<Identity> {
        self.inner.identity()
    }

    fn stat(&self) -> io::Result<Stat> {
        self.inner.stat()
    }

    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize> {
        let log = self.log();
        let n = read_full(&*self.inner, buf, off)?;
        log.overlay(&mut buf[..n], off)?;
        Ok(n)
    }

    fn write(&self, batch: &mut [Write<'_>]) {
        if self.read_only {
            let refused =
                || io::Error::new(io::ErrorKind::PermissionDenied, "the store was opened to be read only");
            batch.iter_mut().for_each(|write| write.error = Some(refused()));
            return;
        }
        self.log().stage(batch);
    }

    fn sync(&self) -> io::Result<()> {
        let mut log = self.log();
        let full = log.is_full();
        log.commit()?;
        // The commit is safe: what goes wrong here is not its failure. The next checkpoint tries again.
        if full && let Err(error) = log.checkpoint(&*self.inner, random()) {
            tracing::warn!(%error, "cannot write a full journal to its store; the journal grows on");
        }
        Ok(())
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.checkpoint()?;
        self.inner.resize(len)
    }

    fn data(&self, range: Range<u64>) -> Option<Range<u64>> {
        let log = self.log();
        if log.committed().is_empty() && log.staged().is_empty() {
            self.inner.data(range)
        } else {
            (!range.is_empty()).then_some(range)
        }
    }
}

impl Drop for JournalStore {
    fn drop(&mut self) {
        self.abort();
        if let Err(error) = self.checkpoint() {
            tracing::error!(%error, "cannot write the journal to its store; it will be replayed when it is opened next");
        }
    }
}

impl std::fmt::Debug for JournalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalStore").field("pending", &self.pending()).finish_non_exhaustive()
    }
}

/// A number that no earlier journal had, as far as chance can tell.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
