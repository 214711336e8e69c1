//! A store in memory.

use super::seam::{Identity, Stat, Store, Write};
use core::sync::atomic::{AtomicU64, Ordering};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A store in memory: for tests, and for bytes that come from somewhere else.
///
/// It may be resized, and [`sync`](Store::sync) does nothing.
///
/// # Examples
///
/// ```
/// use mapback::store::{MemoryStore, Store};
///
/// let store = MemoryStore::new(vec![1, 2, 3]);
/// assert_eq!(store.stat()?.len, 3);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    key: u64,
    lasting: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    version: u64,
}

impl MemoryStore {
    /// A store with this content.
    pub fn new(bytes: Vec<u8>) -> MemoryStore {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let key = NEXT.fetch_add(1, Ordering::Relaxed);
        MemoryStore { key, lasting: key, state: Mutex::new(State { bytes, version: 1 }) }
    }

    /// A store with this content that takes itself for the one that `lasting` names, as a journal sees it.
    pub fn with_lasting(bytes: Vec<u8>, lasting: u64) -> MemoryStore {
        MemoryStore { lasting, ..MemoryStore::new(bytes) }
    }

    /// A copy of the content.
    pub fn to_vec(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn identity(&self) -> io::Result<Identity> {
        // A key that no file has: those are hashes with the upper half in use.
        let name = PathBuf::from(format!("memory store {}", self.key));
        Ok(Identity { key: u128::from(self.key), lasting: self.lasting, name })
    }

    fn stat(&self) -> io::Result<Stat> {
        let state = self.state();
        Ok(Stat { len: state.bytes.len() as u64, version: state.version })
    }

    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize> {
        let state = self.state();
        let from = usize::try_from(off).unwrap_or(usize::MAX).min(state.bytes.len());
        let len = buf.len().min(state.bytes.len() - from);
        buf[..len].copy_from_slice(&state.bytes[from..from + len]);
        Ok(len)
    }

    fn write(&self, batch: &mut [Write<'_>]) {
        let mut state = self.state();
        state.version += 1;
        for write in batch {
            let from = usize::try_from(write.off).unwrap_or(usize::MAX).min(state.bytes.len());
            let len = write.bytes.len().min(state.bytes.len() - from);
            state.bytes[from..from + len].copy_from_slice(&write.bytes[..len]);
            write.done = len;
            if len < write.bytes.len() {
                write.error = Some(io::Error::new(
                    io::ErrorKind::WriteZero,
                    "the write goes past the end of the memory store, which only resize moves",
                ));
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut state = self.state();
        state.version += 1;
        state.bytes.resize(len, 0);
        Ok(())
    }
}
