//! A store that fails on purpose.

use mapback::store::{Identity, Stat, Store, Write};
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Random;

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `stat`.
    Stat,
    /// `read_at`.
    Read,
    /// One write of a batch.
    Write,
    /// `sync`.
    Sync,
    /// `resize`.
    Resize,
}

/// A store around another one, whose calls fail when they are told to.
///
/// A write that fails does its first half, as a full disk may.
///
/// # Examples
///
/// ```
/// use mapback::store::{MemoryStore, Store, write_full};
/// use mapback_testkit::store::{Call, FaultyStore};
/// use std::io::ErrorKind;
///
/// let store = FaultyStore::new(MemoryStore::new(vec![0; 8]));
/// store.fail(Call::Write, 1, ErrorKind::StorageFull);
/// assert!(write_full(&store, b"a", 0).is_ok());
/// assert_eq!(write_full(&store, b"b", 0).unwrap_err().kind(), ErrorKind::StorageFull);
/// assert!(write_full(&store, b"c", 0).is_ok());
/// ```
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    /// Calls to fail once, each after some of its kind have succeeded.
    once: Vec<(Call, usize, io::ErrorKind)>,
    /// Calls that fail as long as this is set.
    always: Vec<(Call, io::ErrorKind)>,
    /// Any call fails with a chance of one in so many.
    random: Option<(Random, usize)>,
    failed: usize,
}

impl<S: Store> FaultyStore<S> {
    /// A store that does not fail yet.
    pub fn new(inner: S) -> FaultyStore<S> {
        FaultyStore { inner, plan: Mutex::default() }
    }

    /// Makes one call fail, after `skip` calls of the kind that do not.
    pub fn fail(&self, call: Call, skip: usize, with: io::ErrorKind) {
        self.plan().once.push((call, skip, with));
    }

    /// Makes all calls of a kind fail.
    pub fn fail_always(&self, call: Call, with: io::ErrorKind) {
        self.plan().always.push((call, with));
    }

    /// Makes each call fail with a chance of one in `one_in`.
    pub fn fail_at_random(&self, seed: u64, one_in: usize) {
        self.plan().random = Some((Random(seed), one_in.max(1)));
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        *self.plan() = Plan { failed: self.failed(), ..Plan::default() };
    }

    /// How many calls failed.
    pub fn failed(&self) -> usize {
        self.plan().failed
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, call: Call) -> io::Result<()> {
        let mut plan = self.plan();
        let mut fault = plan.always.iter().find(|(c, _)| *c == call).map(|(_, kind)| *kind);
        for (_, skip, kind) in plan.once.iter_mut().filter(|(c, ..)| *c == call) {
            if *skip == 0 && fault.is_none() {
                fault = Some(*kind);
            }
            *skip = skip.wrapping_sub(1);
        }
        plan.once.retain(|(_, skip, _)| *skip != usize::MAX);
        if let Some((random, one_in)) = &mut plan.random
            && random.below(*one_in) == 0
        {
            fault = fault.or(Some(io::ErrorKind::Other));
        }
        match fault {
            None => Ok(()),
            Some(kind) => {
                plan.failed += 1;
                Err(io::Error::new(kind, format!("{call:?} was made to fail")))
            }
        }
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn identity(&self) -> io::Result<Identity> {
        self.inner.identity()
    }

    fn stat(&self) -> io::Result<Stat> {
        self.check(Call::Stat)?;
        self.inner.stat()
    }

    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize> {
        self.check(Call::Read)?;
        self.inner.read_at(buf, off)
    }

    fn write(&self, batch: &mut [Write<'_>]) {
        for write in batch {
            let fault = self.check(Call::Write).err();
            let len = if fault.is_some() { write.bytes.len() / 2 } else { write.bytes.len() };
            let mut part = [Write::new(write.off, &write.bytes[..len])];
            self.inner.write(&mut part);
            let [part] = part;
            write.done = part.done;
            write.error = fault.or(part.error);
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.check(Call::Sync)?;
        self.inner.sync()
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.check(Call::Resize)?;
        self.inner.resize(len)
    }

    fn data(&self, range: Range<u64>) -> Option<Range<u64>> {
        self.inner.data(range)
    }
}
