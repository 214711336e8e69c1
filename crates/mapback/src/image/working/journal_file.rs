//! Journals that are files: made when first needed, found again after a crash, removed when all is in the file.

use crate::store::{FileStore, Identity, JournalError, JournalOptions, JournalStore, Stat, Store, Write};
use crate::sys::os::file;
use core::ops::Range;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is appended to a file's name to get that of its journal.
const SUFFIX: &str = ".mapback-journal";

/// The name of the journal next to a file; `None` for a file that has no name any more.
pub(super) fn beside(file: &Path) -> Option<PathBuf> {
    if !file.is_absolute() || !file.parent()?.is_dir() || file.to_string_lossy().ends_with(" (deleted)") {
        return None;
    }
    let mut name = file.file_name()?.to_os_string();
    name.push(SUFFIX);
    Some(file.with_file_name(name))
}

/// Replays what a crash left at `path`, and gives the store to go on with: one that cannot be written to is shown with
/// the commits in place.
pub(super) fn replay(path: &Path, store: &Arc<dyn Store>, writable: bool) -> io::Result<Arc<dyn Store>> {
    let opened = match Medium::open(path, false, writable) {
        Ok(Some(medium)) => {
            let options = JournalOptions::default().read_only(!writable);
            JournalStore::open(store.clone(), Arc::new(medium), options)
        }
        Ok(None) => return Ok(store.clone()),
        Err(error) => Err(error.into()),
    };
    match opened {
        Ok(journal) if writable => {
            // All is in the store, and synced.
            drop(journal);
            std::fs::remove_file(path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            Ok(store.clone())
        }
        Ok(journal) => Ok(Arc::new(journal)),
        Err(error) if writable => Err(error),
        Err(error) => {
            // A reader beside a writer sees the file as the writer left it so far.
            tracing::warn!(%error, path = %path.display(), "a journal was left out of account");
            Ok(store.clone())
        }
    }
}

/// Makes a journal.
pub(super) fn create(path: &Path, store: &Arc<dyn Store>, limit: u64) -> io::Result<JournalStore> {
    let medium = Medium::open(path, true, true)?.expect("created if it was not there");
    let options = JournalOptions::default().limit(limit);
    let journal = JournalStore::open(store.clone(), Arc::new(medium), options)?;
    // The name must survive a crash as well.
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        File::open(dir)?.sync_all()?;
    }
    Ok(journal)
}

/// A journal's file, locked as long as it is open.
struct Medium {
    file: FileStore,
}

impl Medium {
    fn open(path: &Path, create: bool, write: bool) -> Result<Option<Medium>, JournalError> {
        loop {
            let opened =
                OpenOptions::new().read(true).write(write).create(create && write).truncate(false).open(path);
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(None),
                Err(error) => return Err(JournalError::Open(error)),
            };
            let file = FileStore::from_fd(&opened).map_err(JournalError::Open)?;
            file::lock_whole(file.fd()).map_err(|_| JournalError::InUse)?;
            // Who had it before may have removed it between opening and locking.
            let is = opened.metadata().map_err(JournalError::Open)?;
            match std::fs::metadata(path) {
                Ok(named) if (named.dev(), named.ino()) == (is.dev(), is.ino()) => {
                    return Ok(Some(Medium { file }));
                }
                _ => continue,
            }
        }
    }
}

impl Store for Medium {
    fn identity(&self) -> io::Result<Identity> {
        self.file.identity()
    }

    fn stat(&self) -> io::Result<Stat> {
        self.file.stat()
    }

    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize> {
        self.file.read_at(buf, off)
    }

    fn write(&self, batch: &mut [Write<'_>]) {
        self.file.write(batch);
    }

    fn sync(&self) -> io::Result<()> {
        Store::sync(&self.file)
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.file.resize(len)?;
        // Room in advance makes a commit's sync cheaper. Where there is none the write will say so.
        let _ = file::allocate(self.file.fd(), len);
        Ok(())
    }

    fn data(&self, range: Range<u64>) -> Option<Range<u64>> {
        Store::data(&self.file, range)
    }
}
