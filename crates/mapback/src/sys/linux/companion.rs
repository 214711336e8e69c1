//! A file of ours beside one of the program's: whose it may be, and how it is opened, locked and removed.

use super::fd::{Private, with_room};
use super::raw::{Sysno, call};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;

/// Whose a file is, and who may do what with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    /// `u32::MAX`: whatever a new file gets.
    pub(crate) gid: u32,
    /// The bits of reading, writing and executing.
    pub(crate) mode: u32,
}

impl Owner {
    /// This process's user, and nobody else.
    ///
    /// # Errors
    /// None on this system.
    pub(crate) fn this_user() -> Result<Owner, Errno> {
        Ok(Owner { uid: super::effective_uid(), gid: u32::MAX, mode: 0o600 })
    }

    /// Whether who made a file could have written to another one, whose owner is `of`: in a directory where anybody may
    /// make names, anybody may make this one.
    pub(crate) fn may_speak_for(&self, of: &Owner) -> bool {
        let trusted = [0, of.uid, super::effective_uid()].contains(&self.uid);
        let by_group = of.mode & 0o020 != 0 && self.gid == of.gid;
        // What others may write says nothing of who wrote it.
        let guarded = self.mode & 0o022 & !of.mode == 0;
        (trusted || by_group || of.mode & 0o002 != 0) && guarded
    }
}

/// Whose an open file is.
///
/// # Errors
/// `EBADF`.
pub(crate) fn owner(fd: BorrowedFd<'_>) -> Result<Owner, Errno> {
    let st = rustix::fs::fstat(fd)?;
    Ok(Owner { uid: st.st_uid, gid: st.st_gid, mode: st.st_mode & 0o777 })
}

/// Makes a file that is not there yet, with the owner and the permissions of another one, as far as this process may.
///
/// # Errors
/// `EEXIST`; those of `open`.
pub(crate) fn make_like(path: &Path, like: &Owner) -> Result<Private, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let new = Private::new(with_room(|| rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR))?);
    let gid = (like.gid != u32::MAX).then(|| rustix::fs::Gid::from_raw(like.gid));
    let both = rustix::fs::fchown(&new, Some(rustix::fs::Uid::from_raw(like.uid)), gid);
    let like_group = both.is_ok() || rustix::fs::fchown(&new, None, gid).is_ok();
    // Another group must not get what was the file's own group's.
    let mode = if like_group { like.mode & 0o666 } else { like.mode & 0o606 };
    // Where it fails fewer may use it than might.
    let _ = rustix::fs::fchmod(&new, Mode::from_raw_mode(mode | 0o600));
    Ok(new)
}

/// Opens one that is there, and follows no link; `None` if there is none.
///
/// # Errors
/// Those of `open`.
pub(crate) fn open(path: &Path, write: bool) -> Result<Option<Private>, Errno> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    match with_room(|| rustix::fs::open(path, flags, Mode::empty())) {
        Ok(opened) => Ok(Some(Private::new(opened))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether a name stands for an open file.
///
/// # Errors
/// `EBADF`.
pub(crate) fn is_named(fd: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
    let is = super::file::facts(fd)?;
    Ok(rustix::fs::stat(path).is_ok_and(|named| (named.st_dev, named.st_ino) == (is.dev, is.ino)))
}

/// Removes a name, if it is there.
///
/// # Errors
/// Those of `unlink`.
pub(crate) fn remove(path: &Path) -> Result<(), Errno> {
    match rustix::fs::unlink(path) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

/// Makes sure that the name of a new file survives a crash.
///
/// # Errors
/// Those of `fsync`.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Takes the lock of an open file description for as long as it is open, without waiting.
///
/// # Errors
/// `EWOULDBLOCK` when another description of the file has it.
pub(crate) fn lock_whole(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::flock(fd, rustix::fs::FlockOperation::NonBlockingLockExclusive)
}

/// Begins to bring what was written to the storage, and waits for nothing. A hint.
pub(crate) fn begin_writing(fd: BorrowedFd<'_>, off: u64, len: u64) {
    const SYNC_FILE_RANGE_WRITE: usize = 2;
    let args = [fd.as_raw_fd() as usize, off as usize, len as usize, SYNC_FILE_RANGE_WRITE, 0, 0];
    // SAFETY: no memory is involved.
    let _ = unsafe { call(Sysno::sync_file_range, args) };
}

/// Gives a file its room on the storage, so that later writes need no more; its length stays.
///
/// # Errors
/// `ENOSPC`; `EOPNOTSUPP` where the file system cannot.
pub(crate) fn allocate(fd: BorrowedFd<'_>, len: u64) -> Result<(), Errno> {
    rustix::fs::fallocate(fd, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len)
}
