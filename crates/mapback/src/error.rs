//! What the safe face cannot do, and why.

use core::fmt;
use core::ops::Range;
use std::io;
use std::path::{Path, PathBuf};

/// Why a map could not be written back, reloaded or reverted.
///
/// The methods of the maps return [`io::Result`], as memmap2's do, so that a program need not change. The value inside
/// is one of these; [`Error::of`] gets it out.
///
/// # Examples
///
/// ```
/// use mapback::{Error, Mmap, MmapMut};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("data");
/// # std::fs::write(&path, "before")?;
/// # let file = std::fs::File::options().read(true).write(true).open(&path)?;
/// let mut map = MmapMut::map_mut(&file)?;
/// map[0] = b'B';
/// std::fs::write(&path, "by another")?; // changed by other means
/// let error = map.flush().unwrap_err();
/// match Error::of(&error) {
///     Some(Error::Conflict(conflict)) => println!("{conflict}"),
///     other => panic!("{other:?}"),
/// }
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file was changed by other means since it was loaded or last flushed. Nothing was written.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Bytes could not be written. They stay changed, and the next flush tries again.
    #[error(
        "cannot write bytes {:#x}..{:#x} of {} back: {source}. {}",
        range.start, range.end, file.display(), advice(source)
    )]
    Write {
        /// The file's name.
        file: PathBuf,
        /// Offsets in the file of the first stretch that failed.
        range: Range<u64>,
        /// What the store said.
        source: io::Error,
    },
    /// What was written could not be brought to the storage, so that nobody knows what of it is there. All of it
    /// counts as changed again.
    #[error("cannot sync {}: {source}. {}", file.display(), advice(source))]
    Sync {
        /// The file's name.
        file: PathBuf,
        /// What the store said.
        source: io::Error,
    },
    /// Bytes could not be read from the file.
    #[error("cannot read bytes {:#x}..{:#x} of {}: {source}", range.start, range.end, file.display())]
    Read {
        /// The file's name.
        file: PathBuf,
        /// Offsets in the file.
        range: Range<u64>,
        /// What the store said.
        source: io::Error,
    },
    /// The journal cannot be used: see the source.
    #[error("the journal of {}: {source}", file.display())]
    Journal {
        /// The file's name.
        file: PathBuf,
        /// What is wrong: a [`crate::store::JournalError`], or what the store said.
        source: io::Error,
    },
    /// The map was made before this process was forked off: its changes are the parent's to write. Not on Windows.
    #[error("{} was mapped by the process that forked this one: map it anew here", file.display())]
    Forked {
        /// The file's name.
        file: PathBuf,
    },
}

impl Error {
    /// The error of mapback's inside an [`io::Error`], if it is one.
    pub fn of(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }

    /// The conflict inside an [`io::Error`], if it is one.
    pub fn conflict(error: &io::Error) -> Option<&Conflict> {
        match Error::of(error)? {
            Error::Conflict(conflict) => Some(conflict),
            _ => None,
        }
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free some space and flush again; the changes are kept while the map lives"
        }
        io::ErrorKind::PermissionDenied if cfg!(windows) => {
            "Open the file to be written, or map a copy; if somebody has locked the bytes, flush again when he is done"
        }
        io::ErrorKind::PermissionDenied => "Open the file to be written, or map a copy",
        _ => "The changes are kept while the map lives, and the next flush tries again",
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Conflict(_) | Error::Forked { .. } => io::ErrorKind::Other,
            Error::Write { source, .. }
            | Error::Sync { source, .. }
            | Error::Read { source, .. }
            | Error::Journal { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// A file was changed by other means since its map was made or last flushed.
///
/// To go on, take the file's new content and keep your own changes
/// ([`MmapMut::reload`](crate::MmapMut::reload)), drop them ([`MmapMut::revert`](crate::MmapMut::revert) after that), or
/// choose another [`OnConflict`](crate::OnConflict).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub(crate) file: PathBuf,
    pub(crate) how: How,
}

/// What gave a conflict away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Length { was: u64, is: u64 },
    Modified,
    Sibling(Range<u64>),
}

impl Conflict {
    /// The file's name when it was mapped.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The bytes of the file that another map of this process wrote; `None` if the change came from elsewhere, so that
    /// nobody knows which bytes it was.
    pub fn range(&self) -> Option<Range<u64>> {
        match &self.how {
            How::Sibling(range) => Some(range.clone()),
            _ => None,
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} was changed by other means since it was mapped or last flushed: ",
            self.file.display()
        )?;
        match &self.how {
            How::Length { was, is } => write!(f, "it had {was} bytes and has {is}")?,
            How::Modified => f.write_str("its time of modification is another one")?,
            How::Sibling(range) => {
                write!(f, "another map of this process wrote bytes {:#x}..{:#x}", range.start, range.end)?;
            }
        }
        f.write_str(". Nothing was written; reload() keeps both changes, OnConflict chooses otherwise")
    }
}

impl std::error::Error for Conflict {}
