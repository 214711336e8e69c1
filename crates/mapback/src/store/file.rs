//! A local file as a store.

use super::{Run, Stamp};
use crate::sys::Errno;
use crate::sys::os::fd::Private;
use crate::sys::os::shm::Shm;
use crate::sys::os::signal::Blocked;
use crate::sys::os::{self, file, locks, uring};
use core::ops::Range;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FallocateFlags, OFlags};
use std::sync::OnceLock;

/// `FUSE_SUPER_MAGIC`.
const FUSE: u64 = 0x6573_5546;

/// A local file as a store, through a handle of mapback's own with the access that the caller's had.
///
/// The caller may close its descriptor, and unlink or rename the file. It never gets longer or shorter through a map.
///
/// # Platforms
/// Linux and Windows.
///
/// # Examples
///
/// ```
/// use mapback::store::{FileStore, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("data");
/// std::fs::write(&path, "content")?;
/// let store = FileStore::read_only(&path)?;
/// assert_eq!(store.stat()?.len, 7);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct FileStore {
    /// `None` only while being dropped.
    fd: Option<Private>,
    ino: u64,
    /// The open file description is our own: its offset may be moved, and nobody else can set its flags.
    own: bool,
    writable: bool,
    /// A handle that goes past the page cache, made when first wanted; `None` inside where it cannot be had.
    direct: OnceLock<Option<Private>>,
}

/// From so many scattered runs on it pays to let the device work on many at once; below it, the page cache is as
/// fast (measured on ext4, at 300 and at 2,600 runs).
const MANY: usize = 512;
/// From so many bytes on the copy into the page cache costs more than it is worth (measured on ext4).
const MUCH: usize = 32 << 20;
/// Writes that the device works on at once.
const DEPTH: u32 = 256;
/// The alignment that direct writes ask for, at the most, on the file systems that they are used on.
const ALIGN: usize = 4096;
/// The file system on which direct writes were measured and tested.
const EXT4_MAGIC: u64 = 0xef53;

/// Writes the aligned part of each run past the page cache, many at a time. What is not done stays undone, without
/// an error: it is written through the page cache next.
///
/// # Safety
/// Each run's memory must be readable.
unsafe fn write_direct(fd: &Private, keep: &[BorrowedFd<'_>], runs: &mut [Run]) {
    const PIECE: usize = 1 << 20;
    let mut writes = Vec::with_capacity(runs.len());
    let mut owners = Vec::with_capacity(runs.len());
    for (nth, run) in runs.iter().enumerate() {
        let aligned = run.len / ALIGN * ALIGN;
        if !(run.off as usize).is_multiple_of(ALIGN) {
            continue;
        }
        for at in (0..aligned).step_by(PIECE) {
            let len = PIECE.min(aligned - at);
            // SAFETY: inside the run's memory.
            let from = unsafe { run.from.add(at) };
            writes.push(uring::Write { from, len, off: run.off + at as u64, done: None });
            owners.push((nth, at));
        }
    }
    // SAFETY: the caller vouches for the runs, of which these are parts.
    if unsafe { uring::write_batch(fd.as_fd(), keep, DEPTH, &mut writes) }.is_err() {
        return;
    }
    for (write, (nth, at)) in writes.iter().zip(owners) {
        // Pieces of a run are counted from its beginning, up to the first that is not whole.
        if runs[nth].done == at
            && let Some(Ok(n)) = write.done
        {
            runs[nth].done += n;
        }
    }
}

/// Handles whose closing waits, because it would drop the program's record locks (L10).
static PARKED: crate::sync::Mutex<Vec<FileStore>> = crate::sync::Mutex::new(Vec::new());

/// The process whose handles these are, once some are parked.
static PID: AtomicI32 = AtomicI32::new(0);

/// Takes the list's lock over a fork.
pub(super) fn before_fork() {
    core::mem::forget(PARKED.lock());
}

/// Ends [`before_fork`].
///
/// # Safety
/// This thread, or the one that it was forked from, must have called `before_fork`.
pub(super) unsafe fn after_fork() {
    // SAFETY: held, its guard forgotten.
    unsafe { PARKED.force_unlock() };
    PID.store(os::pid(), Ordering::Relaxed);
}

/// How many are parked.
static WAITING: AtomicUsize = AtomicUsize::new(0);

impl FileStore {
    /// A handle on the file behind `fd`.
    ///
    /// The file is opened anew if it can be: a mere duplicate would share the flags that the program may change
    /// (`O_APPEND` makes a positioned write append, `O_DIRECT` asks for alignment) and the file offset.
    ///
    /// # Errors
    /// `EBADF`, `EMFILE`; `EACCES` when the file cannot be opened anew and is served by FUSE with `O_APPEND`,
    /// where a server may append whatever we ask.
    pub(crate) fn open(fd: BorrowedFd<'_>, writable: bool) -> Result<FileStore, Errno> {
        let facts = file::facts(fd)?;
        let (fd, own) = match file::reopen(fd, writable) {
            Ok(new) => (new, true),
            Err(_) => (FileStore::duplicate(fd)?, false),
        };
        Ok(FileStore { fd: Some(fd), ino: facts.ino, own, writable, direct: OnceLock::new() })
    }

    /// Whether it may write.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// The handle that goes past the page cache.
    fn direct(&self) -> Option<&Private> {
        let open = || {
            let suits = self.own && file::fs_magic(self.fd()) == Ok(EXT4_MAGIC);
            if suits { file::reopen_direct(self.fd()).ok() } else { None }
        };
        self.direct.get_or_init(open).as_ref()
    }

    fn duplicate(fd: BorrowedFd<'_>) -> Result<Private, Errno> {
        const FUSE_MAGIC: u64 = 0x6573_5546;
        let flags = file::flags(fd)?;
        if flags.contains(OFlags::APPEND) && file::fs_magic(fd)? == FUSE_MAGIC {
            return Err(Errno::ACCESS);
        }
        Private::duplicate(fd)
    }

    /// The same file, opened anew to be written.
    ///
    /// # Errors
    /// `EACCES` and the like, where this process may not write to it.
    pub(crate) fn reopened_to_write(&self) -> Result<FileStore, Errno> {
        FileStore::open_anew(self.fd(), true)
    }

    /// As [`FileStore::open`], and never a duplicate.
    ///
    /// # Errors
    /// Those of opening the file.
    pub(crate) fn open_anew(fd: BorrowedFd<'_>, writable: bool) -> Result<FileStore, Errno> {
        let ino = file::facts(fd)?.ino;
        let fd = Some(file::reopen(fd, writable)?);
        Ok(FileStore { fd, ino, own: true, writable, direct: Default::default() })
    }

    /// Makes a range of the file a hole.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system has none.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(self.fd(), flags, range.start, range.end - range.start)
    }

    /// Length and time of the last change, now.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub(crate) fn stamp(&self) -> Result<Stamp, Errno> {
        let facts = file::facts(self.fd())?;
        Ok(Stamp { len: facts.len, mtime: facts.mtime })
    }

    /// The handle.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("present until dropped").as_fd()
    }

    /// Closes the parked handles whose locks are gone. Cheap when nothing is parked.
    pub(crate) fn close_parked() {
        if WAITING.load(Ordering::Relaxed) == 0 || PID.load(Ordering::Relaxed) != os::pid() {
            // Nothing to do; or a `vfork` child, which must not touch what is its parent's.
            return;
        }
        let _blocked = Blocked::new();
        let mut parked = PARKED.lock();
        for store in core::mem::take(&mut *parked) {
            if store.fd.as_ref().is_some_and(|fd| locks::held(fd.as_fd(), store.ino)) {
                parked.push(store);
            } else {
                store.close();
            }
        }
        WAITING.store(parked.len(), Ordering::Relaxed);
    }

    fn close(mut self) {
        drop(self.fd.take());
        drop(self.direct.take());
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        if locks::held(fd.as_fd(), self.ino) {
            let direct = core::mem::take(&mut self.direct);
            let parked = FileStore { fd: Some(fd), direct, ..*self };
            let _blocked = Blocked::new();
            let mut all = PARKED.lock();
            all.push(parked);
            PID.store(os::pid(), Ordering::Relaxed);
            WAITING.store(all.len(), Ordering::Relaxed);
        }
    }
}

/// What an image asks for. Buffers are raw because the memory of an image is shared with the program, which may store
/// into it at any moment; a reference would claim that it does not.
impl FileStore {
    /// The length now.
    pub(crate) fn len(&self) -> Result<u64, Errno> {
        Ok(file::facts(self.fd())?.len)
    }

    /// Changes the length.
    pub(crate) fn set_len(&self, len: u64) -> Result<(), Errno> {
        rustix::fs::ftruncate(self.fd(), len)
    }

    /// Reads up to `len` bytes; 0 at the end. A short read is no error.
    ///
    /// # Safety
    /// `buf` must be writable for `len` bytes.
    pub(crate) unsafe fn read_raw(&self, buf: *mut u8, len: usize, off: u64) -> Result<usize, Errno> {
        // SAFETY: passed on.
        unsafe { file::pread(self.fd(), buf, len, off) }
    }

    /// Lets an object in memory take a range over. Returns how many bytes it took: fewer, or none, where that cannot be
    /// done, or not better than by reading.
    pub(crate) fn give(&self, to: &Shm, range: Range<u64>) -> u64 {
        // Through FUSE without a cache, each pipe's worth would be a request of its own.
        let cached = file::fs_magic(self.fd()).is_ok_and(|magic| magic != FUSE);
        if cached { to.take(self.fd(), range) } else { 0 }
    }

    /// Writes up to `len` bytes and says how many. The caller keeps inside the store's length.
    ///
    /// # Safety
    /// `buf` must be readable for `len` bytes.
    pub(crate) unsafe fn write_raw(&self, buf: *const u8, len: usize, off: u64) -> Result<usize, Errno> {
        // SAFETY: passed on.
        unsafe { file::pwrite(self.fd(), buf, len, off, !self.own) }
    }

    /// Writes many runs, each of which gets its own outcome. They will be synced next: a way that suits that is chosen.
    /// `lock`: the file whose lock keeps other writers away; it stays locked until all is written even if this process is
    /// killed on the way.
    ///
    /// # Safety
    /// Each run's memory must be readable.
    pub(crate) unsafe fn write_many(&self, lock: Option<BorrowedFd<'_>>, runs: &mut [Run]) {
        let bytes = runs.iter().map(|run| run.len).sum::<usize>();
        if (runs.len() >= MANY || bytes >= MUCH)
            && let Some(direct) = self.direct()
        {
            // The program may have locked the file by the descriptor that this one is a duplicate of.
            let keep: Vec<_> = [self.fd()].into_iter().chain(lock).collect();
            // SAFETY: the caller's word.
            unsafe { write_direct(direct, &keep, runs) };
        }
        for run in runs {
            // SAFETY: the caller's word. What a direct write did not do is done here, or fails for good.
            unsafe { run.write_rest(self) };
        }
    }

    /// Returns when all that was written is on the storage.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fdatasync(self.fd())
    }

    /// The first stretch of data at or after `off` and before `end`; what lies between reads zero.
    pub(crate) fn data(&self, off: u64, end: u64) -> Option<Range<u64>> {
        if self.own { file::data(self.fd(), off, end) } else { (off < end).then_some(off..end) }
    }
}
