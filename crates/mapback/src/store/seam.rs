//! The seam between a map and the place where its bytes live.

use core::ops::Range;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where the bytes of a map live: a file, memory, a journal around another store, or one of your own.
///
/// A store is six methods and a hint. It never sees an address, only buffers, and may be called from any thread.
/// Offsets and lengths are bytes.
///
/// # What a store has to keep
///
/// 1. What was written is read back at once, by this store and by every other one with the same
///    [identity](Store::identity) in this process.
/// 2. What was written before a [`sync`](Store::sync) that succeeded survives a crash. What was written after the last
///    such `sync` may survive in any part and in any order, in pieces of a sector.
/// 3. [`write`](Store::write) never makes the store longer. Only [`resize`](Store::resize) changes the length.
///
/// The crate `mapback-testkit` has a suite that checks the first and the third for any store, a store that fails on
/// purpose, and one that crashes.
///
/// # Examples
///
/// ```
/// use mapback::store::{MemoryStore, Store};
/// use std::sync::Arc;
///
/// let store = Arc::new(MemoryStore::new(b"hello, store".to_vec()));
/// let mut map = mapback::MmapOptions::new().map_mut(store.clone())?;
/// map[..5].copy_from_slice(b"HELLO");
/// map.flush()?;
/// assert_eq!(store.to_vec(), b"HELLO, store");
/// # std::io::Result::Ok(())
/// ```
pub trait Store: Send + Sync {
    /// Which file this is. Two stores of one file give the same key.
    ///
    /// # Errors
    /// What the place says.
    fn identity(&self) -> io::Result<Identity>;

    /// The length now, and a number that tells whether the content was changed.
    ///
    /// # Errors
    /// What the place says.
    fn stat(&self) -> io::Result<Stat>;

    /// Reads from `off` on into `buf` and says how many bytes it read; 0 at the end of the store. Fewer than asked
    /// for is no error.
    ///
    /// # Errors
    /// What the place says.
    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize>;

    /// Writes a batch. Every write is tried, and gets its own outcome in [`Write::done`] and [`Write::error`].
    ///
    /// The caller keeps inside the length that [`stat`](Store::stat) gave. The writes do not overlap.
    fn write(&self, batch: &mut [Write<'_>]);

    /// Returns when all that was written is on the storage.
    ///
    /// # Errors
    /// What the place says. Nobody knows then what of the writes since the last `sync` is on the storage.
    fn sync(&self) -> io::Result<()>;

    /// Makes the store `len` bytes long; what is new reads zero. A store whose policy is a fixed length answers
    /// [`io::ErrorKind::Unsupported`].
    ///
    /// mapback resizes journals only, never the file that is mapped.
    ///
    /// # Errors
    /// `Unsupported`, or what the place says.
    fn resize(&self, len: u64) -> io::Result<()>;

    /// A hint: the first stretch of data in `range`. What lies before it reads zero; `None` if all does. A store that
    /// does not know calls everything data.
    fn data(&self, range: Range<u64>) -> Option<Range<u64>> {
        (!range.is_empty()).then_some(range)
    }
}

/// What tells one file from every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The same for all stores of one file, and for no other, as long as this process runs.
    pub key: u128,
    /// The same after a restart of the system. A journal notes it, to be applied to no other file.
    pub lasting: u64,
    /// A name for messages.
    pub name: PathBuf,
}

/// The state of a store at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The length in bytes.
    pub len: u64,
    /// A number that is another one after the content was changed by anybody. A file has its time of last
    /// modification in nanoseconds. A store that cannot tell gives 0 for ever, and changes by others go unnoticed.
    pub version: u64,
}

/// One write of a batch, and its outcome.
pub struct Write<'a> {
    /// Where it begins in the store.
    pub off: u64,
    /// What to write.
    pub bytes: &'a [u8],
    /// How many of the bytes are in the store. Set by [`Store::write`].
    pub done: usize,
    /// Why the rest is not. Set by [`Store::write`].
    pub error: Option<io::Error>,
}

impl<'a> Write<'a> {
    /// A write that is still to be done.
    pub fn new(off: u64, bytes: &'a [u8]) -> Write<'a> {
        Write { off, bytes, done: 0, error: None }
    }

    /// Notes the outcome of the whole write.
    pub fn finish(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.done = self.bytes.len(),
            Err(error) => self.error = Some(error),
        }
    }

    /// The bytes that are not in the store, as offsets in it.
    pub fn missing(&self) -> Range<u64> {
        self.off + self.done as u64..self.off + self.bytes.len() as u64
    }
}

impl fmt::Debug for Write<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("off", &self.off)
            .field("len", &self.bytes.len())
            .field("done", &self.done)
            .field("error", &self.error)
            .finish()
    }
}

/// Reads from `off` on until `buf` is full or the store ends. Returns the bytes read.
///
/// # Errors
/// Those of [`Store::read_at`], but for `Interrupted`, which is tried again.
pub fn read_full(store: &(impl Store + ?Sized), buf: &mut [u8], off: u64) -> io::Result<usize> {
    let mut at = 0;
    while at < buf.len() {
        match store.read_at(&mut buf[at..], off + at as u64) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

/// Writes `bytes` at `off`, as a batch of one.
///
/// # Errors
/// That of the write.
pub fn write_full(store: &(impl Store + ?Sized), bytes: &[u8], off: u64) -> io::Result<()> {
    let mut batch = [Write::new(off, bytes)];
    store.write(&mut batch);
    let [write] = batch;
    match write.error {
        Some(error) => Err(error),
        None if write.done < bytes.len() => Err(io::ErrorKind::WriteZero.into()),
        None => Ok(()),
    }
}
