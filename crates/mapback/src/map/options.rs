//! How a map is made.

use super::handle::Handle;
use super::source::Opened;
use super::{Mmap, MmapMut, MmapRaw, Source};
use crate::TrackerKind;
use crate::image::working::{Backing, JournalPlace, OnConflict, Plan, Working, flush_every};
use crate::store::Store;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Options for a map, and the constructors that take them.
///
/// The first part has memmap2's names and meaning; the rest is what a map by the kernel cannot do. The whole content is
/// loaded when a map is made: there is no loading on touch yet.
///
/// # Examples
///
/// ```
/// use mapback::{MmapOptions, OnConflict, TrackerKind};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("data");
/// # std::fs::write(&path, [7; 100])?;
/// # let file = std::fs::File::options().read(true).write(true).open(&path)?;
/// let mut map = MmapOptions::new()
///     .offset(10)
///     .len(20)
///     .tracker(TrackerKind::Compare)
///     .on_conflict(OnConflict::Merge)
///     .map_mut(&file)?;
/// map.fill(8);
/// map.flush()?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Default)]
pub struct MmapOptions {
    pub(super) offset: u64,
    pub(super) len: Option<usize>,
    tracker: Option<TrackerKind>,
    on_conflict: OnConflict,
    flush_every: Option<Duration>,
    small_pages: bool,
    journal: JournalPlace,
    journal_limit: Option<u64>,
    resident_limit: Option<u64>,
}

/// Bytes of journal from which on it is written to its file.
const JOURNAL_LIMIT: u64 = 64 << 20;

/// What the constructors differ in.
#[derive(Clone, Copy)]
struct Kind {
    /// Changes are written back.
    shared: bool,
    writable: bool,
    exec: bool,
}

impl MmapOptions {
    /// Options for a map of a whole file.
    pub fn new() -> MmapOptions {
        MmapOptions::default()
    }

    /// Where in the file the map begins, in bytes. Any number will do; a multiple of the page is the cheapest.
    pub fn offset(&mut self, offset: u64) -> &mut Self {
        self.offset = offset;
        self
    }

    /// The length of the map in bytes; without, to the end of the file.
    ///
    /// A map may be longer than its file. What lies past the end reads zero, and is written back only once the file has
    /// grown to have it.
    pub fn len(&mut self, len: usize) -> &mut Self {
        self.len = Some(len);
        self
    }

    /// For anonymous memory that is to be a stack. Here only for memmap2's sake: it has no effect.
    pub fn stack(&mut self) -> &mut Self {
        self
    }

    /// Asks for huge pages, on Linux. The memory is the kernel's transparent huge pages, of whatever size it has: `page_bits` is
    /// not looked at. See also [`huge_pages`](MmapOptions::huge_pages).
    pub fn huge(&mut self, _page_bits: Option<u8>) -> &mut Self {
        self.huge_pages(true)
    }

    /// Loads the content when the map is made. It is anyway: this has no effect.
    pub fn populate(&mut self) -> &mut Self {
        self
    }

    /// Reserves no swap. Maps never do: this has no effect.
    pub fn no_reserve_swap(&mut self) -> &mut Self {
        self
    }

    /// How to find out what was changed. Without, the best that works here: `wp-async` (on Windows `write-watch`), then
    /// `compare`; the environment variable `MAPBACK_TRACKER` chooses another default.
    pub fn tracker(&mut self, tracker: TrackerKind) -> &mut Self {
        self.tracker = Some(tracker);
        self
    }

    /// What to do when the file was changed by other means since it was loaded or last flushed. Without, a flush fails
    /// with [`Error::Conflict`](crate::Error::Conflict).
    pub fn on_conflict(&mut self, on_conflict: OnConflict) -> &mut Self {
        self.on_conflict = on_conflict;
        self
    }

    /// Flushes the map every so often, in a thread that all maps of this process share, besides the flushes that the
    /// program makes. What fails is told to `tracing` and tried again.
    ///
    /// Such a flush may come between any two stores. It is not atomic, and does not go well with
    /// [`flush_atomic`](MmapMut::flush_atomic).
    pub fn flush_every(&mut self, every: Duration) -> &mut Self {
        self.flush_every = Some(every);
        self
    }

    /// Whether to ask for huge pages for maps of 2 MiB and more. They are faster to fill and to read; the default is yes.
    /// It has no effect on Windows, where they cannot be watched.
    pub fn huge_pages(&mut self, huge: bool) -> &mut Self {
        self.small_pages = !huge;
        self
    }

    /// How much of the map to keep in memory, in bytes. **It has no effect yet**: a map is in memory whole.
    pub fn resident_limit(&mut self, bytes: u64) -> &mut Self {
        self.resident_limit = Some(bytes);
        self
    }

    /// Where the journal of [`flush_atomic`](MmapMut::flush_atomic) goes: a file of this name. Without, it is next to the
    /// mapped file, with `.mapback-journal` appended to the name.
    ///
    /// Every program that maps the file has to name the same place, or it does not find what a crash left there.
    pub fn journal(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.journal = JournalPlace::At(path.into());
        self
    }

    /// As [`journal`](MmapOptions::journal), in a store.
    pub fn journal_in(&mut self, store: Arc<dyn Store>) -> &mut Self {
        self.journal = JournalPlace::In(store);
        self
    }

    /// From how many bytes on the journal is written to the file and begun anew. The default is 64 MiB.
    pub fn journal_limit(&mut self, bytes: u64) -> &mut Self {
        self.journal_limit = Some(bytes);
        self
    }

    /// Maps a file to be read.
    ///
    /// # Errors
    /// `InvalidData` if the offset is past the end of the file and no length is given, or the length is more than a slice
    /// can have. `ENODEV` for what is not a regular file. `ENOMEM`. Those of reading the file.
    pub fn map(&self, file: impl Source) -> io::Result<Mmap> {
        let handle = self.make(file, Kind { shared: true, writable: false, exec: false })?;
        Ok(Mmap { handle })
    }

    /// As [`map`](MmapOptions::map), executable.
    ///
    /// # Errors
    /// As [`map`](MmapOptions::map); `EACCES` where the system forbids it.
    pub fn map_exec(&self, file: impl Source) -> io::Result<Mmap> {
        let handle = self.make(file, Kind { shared: true, writable: false, exec: true })?;
        Ok(Mmap { handle })
    }

    /// Maps a file to be read and written.
    ///
    /// # Errors
    /// As [`map`](MmapOptions::map); `PermissionDenied` if the file was not opened for reading and writing; a
    /// [journal](crate::Error::Journal) that a crash left and that cannot be read or is in use.
    pub fn map_mut(&self, file: impl Source) -> io::Result<MmapMut> {
        let handle = self.make(file, Kind { shared: true, writable: true, exec: false })?;
        self.begin_flushing(&handle)?;
        Ok(MmapMut { handle })
    }

    /// Maps a copy of a file, to be written. Changes stay in memory.
    ///
    /// # Errors
    /// As [`map`](MmapOptions::map).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("data");
    /// std::fs::write(&path, "template")?;
    /// let mut map = mapback::MmapOptions::new().map_copy(path.as_path())?;
    /// map[0] = b'T';
    /// drop(map);
    /// assert_eq!(std::fs::read(&path)?, b"template");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn map_copy(&self, file: impl Source) -> io::Result<MmapMut> {
        let handle = self.make(file, Kind { shared: false, writable: true, exec: false })?;
        Ok(MmapMut { handle })
    }

    /// As [`map_copy`](MmapOptions::map_copy), to be read only, as long as [`Mmap::make_mut`] is not called.
    ///
    /// # Errors
    /// As [`map`](MmapOptions::map).
    pub fn map_copy_read_only(&self, file: impl Source) -> io::Result<Mmap> {
        let handle = self.make(file, Kind { shared: false, writable: false, exec: false })?;
        Ok(Mmap { handle })
    }

    /// Makes a map of zero bytes that has no file, as long as [`len`](MmapOptions::len) says: none without.
    ///
    /// # Errors
    /// `ENOMEM`; `InvalidData` if the length is more than a slice can have.
    pub fn map_anon(&self) -> io::Result<MmapMut> {
        let len = fits(self.len.unwrap_or(0) as u64)?;
        let kind = Kind { shared: false, writable: true, exec: false };
        let working = Working::new(self.plan(0, len, kind)?, None)?;
        Ok(MmapMut { handle: Handle::new(working) })
    }

    /// Maps a file to be read and written through raw pointers.
    ///
    /// # Errors
    /// As [`map_mut`](MmapOptions::map_mut).
    pub fn map_raw(&self, file: impl Source) -> io::Result<MmapRaw> {
        Ok(self.map_mut(file)?.into())
    }

    /// Maps a file to be read through raw pointers.
    ///
    /// # Errors
    /// As [`map`](MmapOptions::map).
    pub fn map_raw_read_only(&self, file: impl Source) -> io::Result<MmapRaw> {
        Ok(self.map(file)?.into())
    }

    fn make(&self, file: impl Source, kind: Kind) -> io::Result<Handle> {
        let Opened { store, owner, writable } = file.open(kind.shared && kind.writable)?;
        if kind.shared && kind.writable && !writable {
            let why =
                "the file was not opened to be written; open it for reading and writing, or use map_copy";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let limit = self.journal_limit.unwrap_or(JOURNAL_LIMIT);
        let len = self.checked_len(&*store)?;
        let backing = Backing::open(store, owner, writable, self.journal.clone(), limit)?;
        let working = Working::new(self.plan(self.offset, len, kind)?, Some(backing))?;
        Ok(Handle::new(working))
    }

    fn checked_len(&self, store: &dyn Store) -> io::Result<usize> {
        if let Some(len) = self.len {
            return fits(len as u64);
        }
        let all = store.stat()?.len;
        match all.checked_sub(self.offset) {
            Some(len) => fits(len),
            None => {
                let why = format!("the map would begin at byte {} of a file of {all} bytes", self.offset);
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
        }
    }

    fn plan(&self, off: u64, len: usize, kind: Kind) -> io::Result<Plan> {
        if off.checked_add(len as u64).is_none_or(|end| i64::try_from(end).is_err()) {
            let why = "the map would end past the greatest offset that a file can have";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Plan {
            off,
            len,
            shared: kind.shared,
            writable: kind.writable,
            exec: kind.exec,
            tracker: self.tracker.map_or_else(tracker_of_environment, |tracker| Ok(Some(tracker)))?,
            on_conflict: self.on_conflict,
            huge: !self.small_pages,
        })
    }

    fn begin_flushing(&self, handle: &Handle) -> io::Result<()> {
        let Some(every) = self.flush_every else { return Ok(()) };
        handle.working.set_live();
        flush_every(Arc::downgrade(&handle.working), every)
    }
}

/// The tracker that the user named for all programs, if any.
pub(super) fn tracker_of_environment() -> io::Result<Option<TrackerKind>> {
    let Some(name) = std::env::var_os("MAPBACK_TRACKER").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let kind = name.to_string_lossy().parse();
    kind.map(Some).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("MAPBACK_TRACKER in the environment: {error}"))
    })
}

/// A slice cannot be longer than `isize` tells.
fn fits(len: u64) -> io::Result<usize> {
    isize::try_from(len).map(|len| len as usize).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{len} bytes are more than a slice can have"))
    })
}

impl fmt::Debug for MmapOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmapOptions")
            .field("offset", &self.offset)
            .field("len", &self.len)
            .field("tracker", &self.tracker)
            .field("on_conflict", &self.on_conflict)
            .field("flush_every", &self.flush_every)
            .field("huge_pages", &!self.small_pages)
            .finish_non_exhaustive()
    }
}

/// How a map may get another length: see [`MmapMut::remap`].
///
/// # Examples
///
/// ```
/// let options = mapback::RemapOptions::new().may_move(true);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RemapOptions {
    pub(super) may_move: bool,
}

impl RemapOptions {
    /// The map must stay where it is.
    pub fn new() -> RemapOptions {
        RemapOptions::default()
    }

    /// Whether the map may move to another address. Without, growing fails where there is no room behind it.
    pub fn may_move(mut self, may_move: bool) -> RemapOptions {
        self.may_move = may_move;
        self
    }
}
