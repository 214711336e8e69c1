//! Journals that are files: made when first needed, found again after a crash, removed when all is in the file.

use crate::store::{FileStore, Identity, JournalError, JournalOptions, JournalStore, Stat, Store, Write};
use crate::sys::Errno;
use crate::sys::os::companion::{self, Owner};
use crate::sys::os::fd::{self, AsFd};
use core::ops::Range;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is appended to a file's name to get that of its journal.
const SUFFIX: &str = ".mapback-journal";

/// What is longer is on its way to the storage while the next part of the commit is made.
const BEGIN_WRITING: usize = 512 << 10;

/// The name of the journal next to a file; `None` for a file that has no name any more.
pub(super) fn beside(file: &Path) -> Option<PathBuf> {
    if !file.parent()?.is_dir() { None } else { name_beside(file) }
}

/// As [`beside`], without a look at the directory.
fn name_beside(file: &Path) -> Option<PathBuf> {
    if !file.is_absolute() || file.as_os_str().as_encoded_bytes().ends_with(b" (deleted)") {
        return None;
    }
    let mut name = file.file_name()?.to_os_string();
    name.push(SUFFIX);
    Some(file.with_file_name(name))
}

/// Replays what a crash left at `path`, and gives the store to go on with: one that cannot be written to is shown with
/// the commits in place.
pub(super) fn replay(
    path: &Path,
    store: &Arc<dyn Store>,
    writable: bool,
    owner: Option<&Owner>,
) -> io::Result<Arc<dyn Store>> {
    let opened = match Medium::open(path, writable, owner) {
        Ok(Some(medium)) => {
            let options = JournalOptions::default().read_only(!writable);
            JournalStore::open(store.clone(), Arc::new(medium), options)
        }
        Ok(None) => return Ok(store.clone()),
        Err(error @ JournalError::Stranger) => {
            tracing::warn!(%error, path = %path.display(), "a journal was left out of account");
            return Ok(store.clone());
        }
        Err(error) => Err(error.into()),
    };
    match opened {
        Ok(journal) if writable => {
            // All is in the store, and synced.
            drop(journal);
            companion::remove(path)?;
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

/// Writes what a crash left in the journal next to a file to the file, before that is loaded into an image. One system
/// call where there is no journal.
///
/// It is called below the interposer: nothing here goes through libc's calls on files.
///
/// # Errors
/// Why the file must not be used: a journal that is in use, cannot be believed, or cannot be written to the file.
pub(crate) fn replay_left(name: &Path, file: &FileStore) -> io::Result<()> {
    let Some(path) = name_beside(name) else { return Ok(()) };
    let owner = companion::owner(file.fd())?;
    let medium = match Medium::open(&path, true, Some(&owner)) {
        Ok(None) => return Ok(()),
        Err(JournalError::Open(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Medium::open(&path, false, Some(&owner))?
        }
        Err(error @ JournalError::Stranger) => {
            crate::report::line(&format!("{} is left out of account: {error}", path.display()));
            return Ok(());
        }
        // A reader beside a writer sees the file as the writer left it so far.
        Err(JournalError::InUse) if !file.is_writable() => return Ok(()),
        opened => opened?,
    };
    let Some(medium) = medium else { return Ok(()) };
    let store = match file.reopened_to_write() {
        Ok(store) if medium.file.is_writable() => Arc::new(store),
        _ => return none_is_waiting(medium, file),
    };
    let journal = JournalStore::open(store, Arc::new(medium), JournalOptions::default())?;
    // All is in the file, and synced.
    drop(journal);
    Ok(companion::remove(&path)?)
}

/// Makes sure that a journal which cannot be replayed has nothing that the file has not.
fn none_is_waiting(medium: Medium, file: &FileStore) -> io::Result<()> {
    let store = FileStore::open_anew(file.fd(), false)?;
    let options = JournalOptions::default().read_only(true);
    match JournalStore::open(Arc::new(store), Arc::new(medium), options)?.pending() {
        0 => Ok(()),
        bytes => Err(JournalError::Waiting(bytes).into()),
    }
}

/// Makes a journal.
pub(super) fn create(
    path: &Path,
    store: &Arc<dyn Store>,
    limit: u64,
    owner: Option<&Owner>,
) -> io::Result<JournalStore> {
    let medium = Medium::make(path, owner)?;
    let options = JournalOptions::default().limit(limit);
    let journal = JournalStore::open(store.clone(), Arc::new(medium), options)?;
    companion::sync_name(path)?;
    Ok(journal)
}

/// A journal's file, locked as long as it is open.
struct Medium {
    file: FileStore,
}

impl Medium {
    /// Opens a journal that is there. It is taken from nobody who could not write the file himself.
    fn open(path: &Path, write: bool, owner: Option<&Owner>) -> Result<Option<Medium>, JournalError> {
        loop {
            let Some(opened) = companion::open(path, write).map_err(refused)? else { return Ok(None) };
            let by = companion::owner(fd::of(&opened)).map_err(cannot)?;
            if owner.is_some_and(|of| !by.may_speak_for(of)) {
                return Err(JournalError::Stranger);
            }
            if let Some(medium) = Medium::lock(path, &opened)? {
                return Ok(Some(medium));
            }
        }
    }

    /// Opens a journal, or makes one that nobody may read who may not read the file.
    fn make(path: &Path, owner: Option<&Owner>) -> Result<Medium, JournalError> {
        let own = Owner::this_user().map_err(cannot)?;
        loop {
            if let Some(medium) = Medium::open(path, true, owner)? {
                return Ok(medium);
            }
            match companion::make_like(path, owner.unwrap_or(&own)) {
                Ok(made) => {
                    if let Some(medium) = Medium::lock(path, &made)? {
                        return Ok(medium);
                    }
                }
                // Somebody was faster.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(cannot(errno)),
            }
        }
    }

    /// Locks what was opened; `None` if the name stands for something else by now: who had it before may have removed it.
    fn lock(path: &Path, opened: &impl AsFd) -> Result<Option<Medium>, JournalError> {
        let file = FileStore::from_fd(opened).map_err(JournalError::Open)?;
        companion::lock_whole(file.fd()).map_err(|_| JournalError::InUse)?;
        let named = companion::is_named(fd::of(opened), path).map_err(cannot)?;
        Ok(named.then_some(Medium { file }))
    }
}

/// Why an open failed. A share mode that lets nobody in is a lock.
fn refused(errno: Errno) -> JournalError {
    if errno == Errno::BUSY { JournalError::InUse } else { cannot(errno) }
}

fn cannot(errno: Errno) -> JournalError {
    JournalError::Open(errno.into())
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
        for write in batch.iter().filter(|write| write.done >= BEGIN_WRITING) {
            companion::begin_writing(self.file.fd(), write.off, write.done as u64);
        }
    }

    fn sync(&self) -> io::Result<()> {
        Store::sync(&self.file)
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.file.resize(len)?;
        // Room in advance makes a commit's sync cheaper. Where there is none the write will say so.
        let _ = companion::allocate(self.file.fd(), len);
        Ok(())
    }

    fn data(&self, range: Range<u64>) -> Option<Range<u64>> {
        Store::data(&self.file, range)
    }
}
