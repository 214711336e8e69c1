//! What a working copy stands on: a store, and what this process knows of it.

use super::journal_file;
use super::registry::{self, Entry, Journal, Known};
use crate::error::Error;
use crate::store::{JournalOptions, JournalStore, Store};
use crate::sys::os::companion::Owner;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the journal of `flush_atomic` goes.
#[derive(Clone, Default)]
pub(crate) enum JournalPlace {
    /// Next to the file.
    #[default]
    Beside,
    /// A file of this name.
    At(PathBuf),
    /// A store.
    In(Arc<dyn Store>),
}

/// See the module's text.
pub(crate) struct Backing {
    pub(super) store: Arc<dyn Store>,
    pub(super) entry: Arc<Entry>,
    pub(super) name: PathBuf,
    pub(super) writable: bool,
    place: JournalPlace,
    limit: u64,
    owner: Option<Owner>,
}

impl Backing {
    /// Opens a store to be mapped. A journal that a crash left is replayed first.
    ///
    /// `owner`: whose file the store is, if it is one, next to which a journal may be.
    ///
    /// # Errors
    /// Those of the store; a journal that cannot be read, if the store shall be written to.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        owner: Option<Owner>,
        writable: bool,
        place: JournalPlace,
        limit: u64,
    ) -> io::Result<Backing> {
        let identity = store.identity()?;
        let entry = Entry::of(&identity);
        let mut backing = Backing { store, entry, name: identity.name, writable, place, limit, owner };
        if let Some(path) = backing
            .journal_path()
            .filter(|_| backing.owner.is_some() || !matches!(backing.place, JournalPlace::Beside))
        {
            let entry = backing.entry.clone();
            let known = entry.lock();
            if known.journal.is_none() {
                let replayed = journal_file::replay(&path, &backing.store, writable, backing.owner.as_ref());
                backing.store = replayed.map_err(|source| backing.unusable(source))?;
            }
        } else if let (JournalPlace::In(medium), true) = (&backing.place, writable) {
            let options = JournalOptions::default().limit(limit);
            let mut known = backing.entry.lock();
            if known.journal.is_none() {
                let opened = JournalStore::open(backing.store.clone(), medium.clone(), options);
                let store = Arc::new(opened.map_err(|source| backing.unusable(source))?);
                known.journal = Some(Journal { store, path: None });
            }
        }
        Ok(backing)
    }

    fn unusable(&self, source: io::Error) -> Error {
        Error::Journal { file: self.name.clone(), source }
    }

    fn journal_path(&self) -> Option<PathBuf> {
        match &self.place {
            JournalPlace::Beside => journal_file::beside(&self.name),
            JournalPlace::At(path) => Some(path.clone()),
            JournalPlace::In(_) => None,
        }
    }

    /// The journal of the file, made if there is none.
    pub(super) fn journal(&self, known: &mut Known) -> Result<Arc<JournalStore>, Error> {
        if let Some(journal) = &known.journal {
            return Ok(journal.store.clone());
        }
        let Some(path) = self.journal_path() else {
            let why =
                "nobody knows where the file is, so name a place for its journal by MmapOptions::journal";
            return Err(self.unusable(io::Error::new(io::ErrorKind::NotFound, why)));
        };
        let store = journal_file::create(&path, &self.store, self.limit, self.owner.as_ref());
        let store = Arc::new(store.map_err(|source| self.unusable(source))?);
        known.journal = Some(Journal { store: store.clone(), path: Some(path) });
        Ok(store)
    }

    /// Writes commits that wait in the journal to the file, so that it can be read and written by itself.
    pub(super) fn settle(&self, known: &mut Known) -> Result<(), Error> {
        let Some(journal) = &known.journal else { return Ok(()) };
        let waiting = journal.store.pending() > 0;
        let done = journal.store.checkpoint();
        if waiting {
            // Also after a failure: some of it may have been written.
            known.touched(self.store.stat().ok());
        }
        done.map_err(|source| self.unusable(source))
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        registry::leave(&self.entry);
    }
}

impl core::fmt::Debug for Backing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Backing")
            .field("name", &self.name)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}
