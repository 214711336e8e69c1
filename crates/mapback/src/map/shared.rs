//! Maps that processes share.

use super::MmapOptions;
use crate::error::Error;
use crate::posix::{Config, Mode, Request, Share, Space};
use crate::sys::os::{self, file, mem, racy};
use core::marker::PhantomData;
use core::ops::{Deref, Range};
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A file's content that all processes of a user see and change together, as atomic cells.
///
/// What one process stores the others see at once, whether or not it was flushed: other maps of this type, and programs
/// under `mapback run`. It is the only map of this crate of which that is true; the others hold a copy of their own.
///
/// It has no `&[u8]`: another process may change the bytes at any moment. It dereferences to a slice of cells instead,
/// single bytes unless [`into_cells`](MmapShared::into_cells) chooses others; [`read`](MmapShared::read) and
/// [`write`](MmapShared::write) copy bytes out and in.
///
/// A [`flush`](MmapShared::flush) writes back what any of the processes changed, and returns when it is on the storage.
/// Dropping the map writes back what this process changed, without a sync. A process that is killed loses nothing: the
/// others still have what it stored, and where there are none, the next one that maps the file, or `mapback recover`,
/// writes it to the file. The same holds for a map that is never dropped, like one in a `static`.
///
/// # Why it is safe
///
/// - Within this process the cells are atomics, of one size in each map, and `read` and `write` behave as loops of relaxed
///   accesses to single bytes. Two maps of one file are at different addresses, so that the language has nothing to say
///   about cells of one and bytes of the other; the hardware gives each access the value that some store gave to these
///   bytes, or a mixture of several.
/// - What other processes do is, to the language, what a device does: it may change what a load finds, which an atomic
///   load allows for. Every value of a cell is a valid one.
/// - The library itself reads the memory by system calls, and stores to it by them or by atomic bytes of another map.
/// - The memory stays mapped as long as the value lives. **If the file is made shorter** by a process that uses mapback,
///   or found shorter when it is mapped anew, an access to what was cut off ends the process by SIGBUS, as with the
///   kernel's own maps. That is not undefined: a reference to cells that may be changed by others lets the compiler make
///   no access of its own. Programs that share a map have to agree not to shorten its file. **Holes of a sparse file**
///   have no memory yet: the first access to one is the same signal where the directory for images is full.
/// - The raw pointers are for accesses that this type has no method for. To use them beside cells of another size is a
///   data race.
///
/// # What others change by other means
///
/// A `write` to the file by a program that does not use mapback is seen when the file is mapped next, in pages that nobody
/// has changed; a page that both changed is written whole, the map's last. There is no [`Conflict`](crate::Conflict) here.
/// Do not flush a [`MmapMut`](crate::MmapMut) of a file that others have a shared map of.
///
/// # Limits
///
/// Images of files are shared through `/dev/shm`, or the directory that the environment variable `MAPBACK_SHARED_DIR`
/// names, by the processes of one user. A process has one tracker for its shared maps: that of `MAPBACK_TRACKER`, or the
/// best that works. A child made by `fork` sees the memory, but cannot flush, nor make a map: it says so by
/// [`Error::Forked`](crate::Error::Forked); what it stores is written only if others flush the same pages, or at a
/// comparison after a kill. A process must not have a [`posix::Space`](crate::posix::Space) of its own beside.
///
/// # Platforms
/// Linux.
///
/// # Examples
///
/// ```
/// use mapback::MmapShared;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("counters");
/// # std::fs::write(&path, [0; 4096])?;
/// let file = std::fs::File::options().read(true).write(true).open(&path)?;
/// let counters = MmapShared::map_shared(&file)?.into_cells::<AtomicU64>()?;
/// counters[3].fetch_add(1, Ordering::Relaxed); // together with every process that does so
/// counters.flush()?;
/// assert_eq!(std::fs::read(&path)?[24..32], 1u64.to_ne_bytes());
/// # std::io::Result::Ok(())
/// ```
pub struct MmapShared<T: Cell = AtomicU8> {
    place: Place,
    cells: PhantomData<T>,
}

/// Where a map is. Dropping it unmaps.
struct Place {
    /// Of the map: the beginning of a page. Not null, but dangling, for a map without bytes.
    addr: usize,
    /// From there to the first byte.
    skip: usize,
    len: usize,
    off: u64,
    name: PathBuf,
    pid: i32,
}

/// What a [`MmapShared`] can be seen as: the atomic integers.
pub trait Cell: sealed::Cell {}

mod sealed {
    /// # Safety
    /// Every value of the bytes is one of the type, and shared references let others store.
    pub unsafe trait Cell {}
}

macro_rules! cells {
    ($($cell:ty),*) => {$(
        // SAFETY: an atomic integer.
        unsafe impl sealed::Cell for $cell {}
        impl Cell for $cell {}
    )*};
}
cells!(AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize);

/// The address space, as far as maps of this kind are concerned: one for the process, made for the first map.
static SPACE: OnceLock<Space> = OnceLock::new();

fn space() -> io::Result<&'static Space> {
    let tracker = super::options::tracker_of_environment()?;
    let space = SPACE.get_or_init(|| {
        let chosen = std::env::var_os("MAPBACK_SHARED_DIR").filter(|dir| !dir.is_empty());
        let space = Space::new(Config {
            mode: Mode::All,
            tracker,
            include_tmpfs: true,
            choose: None,
            share: chosen.map_or(Share::Default, |dir| Share::In(dir.into())),
            report: |line| said().push(line.to_owned()),
        });
        space.begin();
        space
    });
    Ok(space)
}

/// Lines for the user that came up under a lock.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn said() -> MutexGuard<'static, Vec<String>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells whoever listens to `tracing` what came up, now that no lock is held: that is anybody's code, which may use maps
/// itself.
fn tell() {
    let lines = core::mem::take(&mut *said());
    lines.iter().for_each(|line| tracing::warn!("{line}"));
}

impl MmapOptions {
    /// Maps a file together with other processes. Takes [`offset`](MmapOptions::offset) and [`len`](MmapOptions::len); the
    /// other options do not concern it.
    ///
    /// # Errors
    /// See [`MmapShared::map_shared`]; `InvalidInput` for what is not inside the file.
    ///
    /// # Platforms
    /// Linux.
    pub fn map_shared(&self, file: impl AsFd) -> io::Result<MmapShared> {
        MmapShared::open(file.as_fd(), self.offset, self.len)
    }
}

impl MmapShared {
    /// Maps a whole file. The descriptor may be closed afterwards.
    ///
    /// # Errors
    /// `PermissionDenied` if the file was not opened for reading and writing, or if another user has it mapped;
    /// `Unsupported` where it cannot be shared: no directory for images, or a file system that is not a disk's or a
    /// network's; `ENODEV` for what is not a regular file; `ENOMEM`, or `StorageFull` if `/dev/shm` is full; a
    /// journal that cannot be replayed (`tracing` has the reason); those of reading the file.
    pub fn map_shared(file: impl AsFd) -> io::Result<MmapShared> {
        MmapOptions::new().map_shared(file)
    }

    /// Maps a part of a file. Called by [`MmapOptions::map_shared`].
    fn open(fd: BorrowedFd<'_>, off: u64, len: Option<usize>) -> io::Result<MmapShared> {
        let facts = file::facts(fd)?;
        if !facts.regular {
            return Err(crate::Errno::NODEV.into());
        }
        let access = file::access(fd)?;
        if !(access.read && access.write) {
            let why = "a shared map needs a file that was opened for reading and writing";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let len = part(facts.len, off, len)?;
        let (name, pid) = (file::name(fd), os::pid());
        let skip = (off % os::page_size() as u64) as usize;
        let mut place = Place { addr: os::page_size(), skip: 0, len: 0, off, name, pid };
        if len > 0 {
            let addr = map(fd, off - skip as u64, skip + len, &place.name);
            tell();
            (place.addr, place.skip, place.len) = (addr?, skip, len);
        }
        Ok(MmapShared { place, cells: PhantomData })
    }

    /// Copies bytes out, as single atomic loads in no order would: others may be storing meanwhile.
    ///
    /// # Panics
    /// If not all of `at..at + to.len()` are inside the map.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("data");
    /// # std::fs::write(&path, "content")?;
    /// # let file = std::fs::File::options().read(true).write(true).open(&path)?;
    /// let map = mapback::MmapShared::map_shared(&file)?;
    /// map.write(3, b"vex!");
    /// let mut bytes = [0; 6];
    /// map.read(1, &mut bytes);
    /// assert_eq!(&bytes, b"onvex!");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn read(&self, at: usize, to: &mut [u8]) {
        let from = self[at..][..to.len()].as_ptr().cast();
        // SAFETY: inside the map, all of whose accesses are by atomic bytes.
        unsafe { racy::load(from, to) };
    }

    /// Copies bytes in, as single atomic stores in no order would: others may see any part of them first.
    ///
    /// # Panics
    /// If not all of `at..at + from.len()` are inside the map.
    pub fn write(&self, at: usize, from: &[u8]) {
        let to = self[at..][..from.len()].as_ptr().cast_mut().cast();
        // SAFETY: as above; cells may be stored to by shared reference.
        unsafe { racy::store(from, to) };
    }

    /// The same map as cells of another size. Bytes at the end that make no whole cell are left out of the slice.
    ///
    /// # Errors
    /// `InvalidInput` if the map begins at an offset of the file that is no multiple of the cell's size.
    pub fn into_cells<T: Cell>(self) -> io::Result<MmapShared<T>> {
        if !(self.place.addr + self.place.skip).is_multiple_of(align_of::<T>()) {
            let why = format!("a map that begins at byte {} has no aligned cells", self.place.off);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(MmapShared { place: self.place, cells: PhantomData })
    }
}

/// The length of a map, which has to be inside its file.
fn part(all: u64, off: u64, len: Option<usize>) -> io::Result<usize> {
    let rest = all.checked_sub(off).and_then(|rest| isize::try_from(rest).ok());
    match (rest, len) {
        (Some(rest), None) => Ok(rest as usize),
        (Some(rest), Some(len)) if len <= rest as usize => Ok(len),
        _ => {
            let end = len.map_or(String::new(), |len| format!(" and of {len} bytes"));
            let why = format!("a shared map from byte {off} on{end} is not inside a file of {all} bytes");
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}

/// Maps whole pages of a file, and makes sure that others see them.
fn map(fd: BorrowedFd<'_>, off: u64, len: usize, name: &std::path::Path) -> io::Result<usize> {
    let space = space()?;
    if !space.is_owner() {
        return Err(Error::Forked { file: name.into() }.into());
    }
    let (prot, flags) = (mem::PROT_READ | mem::PROT_WRITE, mem::MAP_SHARED);
    let request = Request { addr: 0, len, prot, flags, fd: fd.as_raw_fd(), off: off as i64 };
    // SAFETY: at an address that is free.
    let addr = unsafe { space.mmap(request) }?;
    if space.is_shared_at(addr) {
        return Ok(addr);
    }
    // SAFETY: mapped in the line above, and known to nobody.
    unsafe { space.munmap(addr, len) }?;
    let why = format!(
        "{} cannot be shared: its file system is none that mapback serves, or there is no directory for images; see \
         MAPBACK_SHARED_DIR",
        name.display()
    );
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

impl<T: Cell> MmapShared<T> {
    /// Where the bytes are, as long as the map lives.
    pub fn as_ptr(&self) -> *const u8 {
        self.as_mut_ptr()
    }

    /// Where the bytes are, to be stored to. See the type's text on what may be done beside the cells.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.place.addr + self.place.skip)
    }

    /// Writes back what any process changed in the map, and returns when it is on the storage.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write) with what the file system said, like `StorageFull`: it stays changed, and the
    /// next flush tries again. [`Error::Forked`](crate::Error::Forked).
    pub fn flush(&self) -> io::Result<()> {
        self.place.sync(0..self.place.len, mem::MS_SYNC)
    }

    /// As [`flush`](MmapShared::flush), without waiting for the storage.
    ///
    /// # Errors
    /// As [`flush`](MmapShared::flush).
    pub fn flush_async(&self) -> io::Result<()> {
        self.place.sync(0..self.place.len, mem::MS_ASYNC)
    }

    /// As [`flush`](MmapShared::flush), for `len` bytes from byte `offset` of the map on, widened to pages.
    ///
    /// # Errors
    /// As [`flush`](MmapShared::flush); `InvalidInput` for a range that is not inside the map.
    pub fn flush_range(&self, offset: usize, len: usize) -> io::Result<()> {
        match offset.checked_add(len).filter(|end| *end <= self.place.len) {
            Some(end) => self.place.sync(offset..end, mem::MS_SYNC),
            None => {
                let why =
                    format!("bytes {offset}..+{len} are not all inside a map of {} bytes", self.place.len);
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
        }
    }

    /// Ends the map: writes back what this process changed, as dropping does, and says what could not be written. That is
    /// not lost as long as other processes have the map, and tried again when this one maps the file anew.
    ///
    /// # Errors
    /// As [`flush`](MmapShared::flush).
    pub fn close(self) -> io::Result<()> {
        self.flush_async()
    }
}

impl Place {
    fn sync(&self, range: Range<usize>, flags: i32) -> io::Result<()> {
        if self.pid != os::pid() {
            return Err(Error::Forked { file: self.name.clone() }.into());
        }
        let (false, Some(space)) = (range.is_empty(), SPACE.get()) else { return Ok(()) };
        let begin = (self.skip + range.start) / os::page_size() * os::page_size();
        let done = space.msync(self.addr + begin, self.skip + range.end - begin, flags);
        tell();
        done.map_err(|errno| {
            let range = self.off + range.start as u64..self.off + range.end as u64;
            Error::Write { file: self.name.clone(), range, source: errno.into() }.into()
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(space) = SPACE.get() else { return };
        if self.len > 0 && self.pid == os::pid() {
            // SAFETY: the map is this value's own, and what was lent of it lives no longer than it. A forked child leaves
            // its copy of the map alone: the locks may be those of a thread that it does not have.
            let done = unsafe { space.munmap(self.addr, self.skip + self.len) };
            tell();
            if let Err(errno) = done {
                tracing::error!(%errno, file = %self.name.display(), "a shared map could not be ended");
            }
        }
    }
}

impl<T: Cell> Deref for MmapShared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: mapped, readable and writable as long as `self` lives, or without bytes; aligned, as `into_cells` made
        // sure; every value of the bytes is a valid cell, and cells may be changed by others, of this process and of
        // others.
        unsafe { core::slice::from_raw_parts(self.as_ptr().cast(), self.place.len / size_of::<T>()) }
    }
}

impl<T: Cell> fmt::Debug for MmapShared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmapShared").field("ptr", &self.as_ptr()).field("len", &self.place.len).finish()
    }
}
