//! Files: what is asked of a descriptor, and positioned reads and writes from raw memory.

use super::fd::{Private, with_room};
use super::raw::{Sysno, call};
use core::ops::Range;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What tells one file from every other (I4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Birth time in nanoseconds, 0 where the file system has none: an inode number can be used again.
    pub(crate) birth: i128,
    /// A digest of the file handle, 0 where the file system has none. A server that passes on the inode numbers of
    /// several file systems tells its files apart by this.
    pub(crate) handle: u64,
}

impl FileId {
    /// What of it is the same after a restart of the system.
    pub(crate) fn lasting(&self) -> Vec<u8> {
        [&self.ino.to_le_bytes()[..], &self.birth.to_le_bytes()].concat()
    }

    /// The rest. The device's number may be another one after a restart, and the handle's digest after an update.
    pub(crate) fn passing(&self) -> Vec<u8> {
        [self.dev.to_le_bytes(), self.handle.to_le_bytes()].concat()
    }
}

/// What `fstat` tells, as far as it is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) len: u64,
    /// When the content changed last, in nanoseconds since 1970.
    pub(crate) mtime: i64,
    pub(crate) regular: bool,
}

/// `fstat`.
///
/// # Errors
/// `EBADF`.
pub(crate) fn facts(fd: BorrowedFd<'_>) -> Result<Facts, Errno> {
    let st = rustix::fs::fstat(fd)?;
    let regular = FileType::from_raw_mode(st.st_mode) == FileType::RegularFile;
    let mtime = st.st_mtime.saturating_mul(1_000_000_000).saturating_add(st.st_mtime_nsec as i64);
    Ok(Facts { dev: st.st_dev, ino: st.st_ino, len: st.st_size as u64, mtime, regular })
}

/// The identity of an open file.
///
/// # Errors
/// `EBADF`, and what the file system says.
pub(crate) fn identity(fd: BorrowedFd<'_>) -> Result<FileId, Errno> {
    let stat = facts(fd)?;
    let sx = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME);
    let birth = match sx {
        Ok(sx) if sx.stx_mask & StatxFlags::BTIME.bits() != 0 => {
            i128::from(sx.stx_btime.tv_sec) * 1_000_000_000 + i128::from(sx.stx_btime.tv_nsec)
        }
        _ => 0,
    };
    Ok(FileId { dev: stat.dev, ino: stat.ino, birth, handle: handle(fd) })
}

/// A digest of what `name_to_handle_at` tells of an open file.
fn handle(fd: BorrowedFd<'_>) -> u64 {
    const MAX_HANDLE_SZ: usize = 128;
    const AT_EMPTY_PATH: usize = 0x1000;
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        data: [u8; MAX_HANDLE_SZ],
    }
    let mut handle = Handle { bytes: MAX_HANDLE_SZ as u32, kind: 0, data: [0; MAX_HANDLE_SZ] };
    let mut mount = 0i32;
    let (to, mount) = (&raw mut handle as usize, &raw mut mount as usize);
    let args = [fd.as_raw_fd() as usize, c"".as_ptr() as usize, to, mount, AT_EMPTY_PATH, 0];
    // SAFETY: `handle` has the room that it says, and `mount` is an int.
    if unsafe { call(Sysno::name_to_handle_at, args) }.is_err() {
        return 0;
    }
    digest(&handle.data[..(handle.bytes as usize).min(MAX_HANDLE_SZ)]) ^ handle.kind as u64
}

/// FNV-1a: tells things apart that nobody made alike on purpose; the same in every build.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The status flags of the open file description.
///
/// # Errors
/// `EBADF`.
pub(crate) fn flags(fd: BorrowedFd<'_>) -> Result<OFlags, Errno> {
    rustix::fs::fcntl_getfl(fd)
}

/// The magic number of the file's file system.
///
/// # Errors
/// Those of `fstatfs`.
pub(crate) fn fs_magic(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64)
}

/// Whether the file lies on a mount that forbids execution.
pub(crate) fn is_noexec(fd: BorrowedFd<'_>) -> bool {
    const ST_NOEXEC: u64 = 8;
    rustix::fs::fstatvfs(fd).is_ok_and(|v| v.f_flag.bits() & ST_NOEXEC != 0)
}

/// The name under which the kernel knows the file now, for messages and for choosing by name.
pub(crate) fn name(fd: BorrowedFd<'_>) -> PathBuf {
    let link = rustix::fs::readlink(proc_path(fd), Vec::new());
    link.map(|c| PathBuf::from(std::ffi::OsString::from_vec(c.into_bytes()))).unwrap_or_default()
}

fn proc_path(fd: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("no zero byte in a number")
}

/// Opens the same file anew: a description of our own, whose flags and offset the program cannot change.
///
/// # Errors
/// `EACCES`, `ENOENT` and the like, where the file could not be opened now.
pub(crate) fn reopen(fd: BorrowedFd<'_>, writable: bool) -> Result<Private, Errno> {
    reopen_with(fd, if writable { OFlags::RDWR } else { OFlags::RDONLY })
}

/// Opens the same file anew for writes that go past the page cache.
///
/// # Errors
/// As [`reopen`]; `EINVAL` where the file system has no such writes.
pub(crate) fn reopen_direct(fd: BorrowedFd<'_>) -> Result<Private, Errno> {
    reopen_with(fd, OFlags::RDWR | OFlags::DIRECT)
}

fn reopen_with(fd: BorrowedFd<'_>, access: OFlags) -> Result<Private, Errno> {
    let flags = access | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let was = facts(fd)?;
    let new = with_room(|| rustix::fs::open(proc_path(fd), flags, Mode::empty()))?;
    let is = facts(new.as_fd())?;
    let new = if super::locks::held(new.as_fd(), was.ino) { Private::stay(new) } else { Private::new(new) };
    // A name like "/x (deleted)" may be somebody else's file on systems whose /proc links are plain text.
    if (was.dev, was.ino) == (is.dev, is.ino) { Ok(new) } else { Err(Errno::NOENT) }
}

/// The first stretch of data of a file at or after `off` and before `end`; moves the offset of the description. All is
/// data where the file system does not know.
pub(crate) fn data(fd: BorrowedFd<'_>, off: u64, end: u64) -> Option<Range<u64>> {
    if off >= end {
        return None;
    }
    match rustix::fs::seek(fd, SeekFrom::Data(off)) {
        Ok(data) if data >= end => None,
        Ok(data) => {
            let hole = rustix::fs::seek(fd, SeekFrom::Hole(data)).unwrap_or(end);
            Some(data..hole.clamp(data + 1, end))
        }
        Err(Errno::NXIO) => None,
        Err(_) => Some(off..end),
    }
}

/// Does something that makes or fills a file of `len` bytes, which the kernel's own maps do without regard to
/// `RLIMIT_FSIZE`. The soft limit is lifted for a moment; passing it would be a signal.
///
/// # Errors
/// `EFBIG` where the hard limit is too small; those of `act`.
pub(crate) fn with_file_size<T>(len: u64, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Fsize);
    if before.current.is_none_or(|soft| soft >= len) {
        return act();
    }
    if before.maximum.is_some_and(|hard| hard < len) {
        return Err(Errno::FBIG);
    }
    setrlimit(Resource::Fsize, Rlimit { current: before.maximum, ..before })?;
    let done = act();
    let _ = setrlimit(Resource::Fsize, before);
    done
}

/// Moves up to `len` bytes inside the kernel, from `off` in one file to where another one stands; 0 at the end of the
/// first.
///
/// # Errors
/// Those of `sendfile`: `EINVAL` where the file system has no such thing.
pub(crate) fn send(from: BorrowedFd<'_>, off: u64, to: BorrowedFd<'_>, len: usize) -> Result<usize, Errno> {
    loop {
        let mut at = off;
        match rustix::fs::sendfile(to, from, Some(&mut at), len) {
            Err(Errno::INTR) => continue,
            other => return other,
        }
    }
}

/// `pread` into raw memory; 0 at the end of the file.
///
/// # Safety
/// `buf` must be writable for `len` bytes, or the kernel answers `EFAULT`; no reference may be held into it.
///
/// # Errors
/// Those of `pread`.
pub(crate) unsafe fn pread(fd: BorrowedFd<'_>, buf: *mut u8, len: usize, off: u64) -> Result<usize, Errno> {
    loop {
        let args = [fd.as_raw_fd() as usize, buf as usize, len, off as usize, 0, 0];
        // SAFETY: the caller vouches for the buffer.
        match unsafe { call(Sysno::pread64, args) } {
            Err(Errno::INTR) => continue,
            other => return other,
        }
    }
}

#[repr(C)]
struct IoVec {
    base: usize,
    len: usize,
}

/// `pwritev2` from raw memory; `no_append` asks the kernel to obey the offset on an `O_APPEND` descriptor.
///
/// # Safety
/// `buf` must be readable for `len` bytes, or the kernel answers `EFAULT`.
///
/// # Errors
/// Those of `pwritev2`.
pub(crate) unsafe fn pwrite(
    fd: BorrowedFd<'_>,
    buf: *const u8,
    len: usize,
    off: u64,
    no_append: bool,
) -> Result<usize, Errno> {
    const RWF_NOAPPEND: usize = 0x20;
    let fd = fd.as_raw_fd() as usize;
    loop {
        let done = if no_append {
            let iov = IoVec { base: buf as usize, len };
            let args = [fd, &raw const iov as usize, 1, off as usize, 0, RWF_NOAPPEND];
            // SAFETY: the caller vouches for the buffer; `iov` lives through the call.
            unsafe { call(Sysno::pwritev2, args) }
        } else {
            // SAFETY: the caller vouches for the buffer.
            unsafe { call(Sysno::pwrite64, [fd, buf as usize, len, off as usize, 0, 0]) }
        };
        match done {
            Err(Errno::INTR) => continue,
            other => return other,
        }
    }
}

/// What a descriptor may be used for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// The access that an open descriptor has.
///
/// # Errors
/// `EBADF`.
pub(crate) fn access(fd: BorrowedFd<'_>) -> Result<Access, Errno> {
    let flags = flags(fd)?;
    let mode = flags & OFlags::RWMODE;
    let path = flags.contains(OFlags::PATH);
    Ok(Access { read: mode != OFlags::WRONLY && !path, write: mode == OFlags::RDWR && !path })
}

/// The length, and the time of last modification in nanoseconds.
///
/// # Errors
/// `EBADF`.
pub(crate) fn len_and_mtime(fd: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let st = rustix::fs::fstat(fd)?;
    let nanoseconds = (st.st_mtime as u64).wrapping_mul(1_000_000_000).wrapping_add(st.st_mtime_nsec as u64);
    Ok((st.st_size as u64, nanoseconds))
}
