//! Files by their handles: identity, access, positioned reads and writes, flushing.

use super::errno::Errno;
use super::fd::Borrowed;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use windows_sys::Wdk::Foundation::{NtQueryObject, OBJECT_INFORMATION_CLASS};
use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_HANDLE_EOF, GENERIC_READ, GENERIC_WRITE, GetLastError,
    INVALID_HANDLE_VALUE, STATUS_DELETE_PENDING,
};
use windows_sys::Win32::Storage::FileSystem as w;
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// What tells one file from every other (I4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId {
    /// The volume's serial number.
    pub(crate) dev: u64,
    /// The file's 128-bit id.
    pub(crate) ino: u128,
}

impl FileId {
    /// What of it is the same after a restart of the system: all, but on file systems that make ids up (FAT).
    pub(crate) fn lasting(&self) -> Vec<u8> {
        [&self.ino.to_le_bytes()[..], &self.dev.to_le_bytes()].concat()
    }

    /// The rest.
    pub(crate) fn passing(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// What is asked of a handle first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) len: u64,
    /// A file on a disk, not a directory.
    pub(crate) regular: bool,
}

fn information<T>(fd: Borrowed<'_>, class: w::FILE_INFO_BY_HANDLE_CLASS) -> Result<T, Errno> {
    // SAFETY: used for structures of plain numbers only.
    let mut info: T = unsafe { core::mem::zeroed() };
    let (to, room) = (&raw mut info, size_of::<T>() as u32);
    // SAFETY: `info` has the size that is said, and is the structure of that class.
    let done = unsafe { w::GetFileInformationByHandleEx(fd.as_raw_handle(), class, to.cast(), room) };
    if done == 0 { Err(Errno::last()) } else { Ok(info) }
}

/// What kind of file it is, and how long.
///
/// # Errors
/// `EBADF`.
pub(crate) fn facts(fd: Borrowed<'_>) -> Result<Facts, Errno> {
    // SAFETY: takes a handle, open or not.
    let kind = unsafe { w::GetFileType(fd.as_raw_handle()) };
    if kind != w::FILE_TYPE_DISK {
        // SAFETY: reads a number.
        let valid = kind != w::FILE_TYPE_UNKNOWN || unsafe { GetLastError() } == 0;
        return if valid { Ok(Facts { len: 0, regular: false }) } else { Err(Errno::BADF) };
    }
    let info: w::FILE_STANDARD_INFO = information(fd, w::FileStandardInfo)?;
    Ok(Facts { len: info.EndOfFile as u64, regular: !info.Directory })
}

/// The identity of an open file.
///
/// # Errors
/// What the file system says.
pub(crate) fn identity(fd: Borrowed<'_>) -> Result<FileId, Errno> {
    if let Ok(info) = information::<w::FILE_ID_INFO>(fd, w::FileIdInfo) {
        let ino = u128::from_le_bytes(info.FileId.Identifier);
        return Ok(FileId { dev: info.VolumeSerialNumber, ino });
    }
    // FAT and some servers know the 64-bit index only.
    // SAFETY: plain numbers.
    let mut info: w::BY_HANDLE_FILE_INFORMATION = unsafe { core::mem::zeroed() };
    // SAFETY: an out-pointer of the right type.
    if unsafe { w::GetFileInformationByHandle(fd.as_raw_handle(), &raw mut info) } == 0 {
        return Err(Errno::last());
    }
    let ino = u128::from(info.nFileIndexHigh) << 32 | u128::from(info.nFileIndexLow);
    Ok(FileId { dev: info.dwVolumeSerialNumber.into(), ino })
}

/// What a handle may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// What a handle may do.
///
/// # Errors
/// `EBADF`.
pub(crate) fn access(fd: Borrowed<'_>) -> Result<Access, Errno> {
    /// `PUBLIC_OBJECT_BASIC_INFORMATION`.
    #[repr(C)]
    #[derive(Default)]
    struct Basic {
        attributes: u32,
        granted: u32,
        rest: [u32; 12],
    }
    const OBJECT_BASIC_INFORMATION: OBJECT_INFORMATION_CLASS = 0;
    let mut basic = Basic::default();
    let (to, room) = (&raw mut basic, size_of::<Basic>() as u32);
    // SAFETY: `basic` is the structure of that class and has the size that is said.
    let status = unsafe {
        NtQueryObject(fd.as_raw_handle(), OBJECT_BASIC_INFORMATION, to.cast(), room, core::ptr::null_mut())
    };
    if status < 0 {
        return Err(Errno::BADF);
    }
    let has = |bit: u32| basic.granted & bit != 0;
    Ok(Access { read: has(w::FILE_READ_DATA), write: has(w::FILE_WRITE_DATA) })
}

fn wide_name(fd: Borrowed<'_>) -> Option<Vec<u16>> {
    let mut name = vec![0u16; 1024];
    // SAFETY: the buffer has the room that is said.
    let ask = |name: &mut Vec<u16>| unsafe {
        w::GetFinalPathNameByHandleW(fd.as_raw_handle(), name.as_mut_ptr(), name.len() as u32, 0) as usize
    };
    let mut len = ask(&mut name);
    if len >= name.len() {
        name.resize(len + 1, 0);
        len = ask(&mut name);
    }
    (len != 0 && len < name.len()).then(|| {
        name.truncate(len);
        name
    })
}

/// The name of the file now. That of a file that was deleted ends in " (deleted)", as on Linux.
pub(crate) fn name(fd: Borrowed<'_>) -> PathBuf {
    let Some(name) = wide_name(fd) else { return PathBuf::new() };
    let [verbatim, share] = [r"\\?\", r"\\?\UNC\"].map(|s| s.encode_utf16().collect::<Vec<_>>());
    let mut plain = match (name.strip_prefix(&share[..]), name.strip_prefix(&verbatim[..])) {
        (Some(rest), _) => OsString::from_wide(&[&verbatim[..2], rest].concat()),
        (_, Some(rest)) => OsString::from_wide(rest),
        _ => OsString::from_wide(&name),
    };
    let standard = information::<w::FILE_STANDARD_INFO>(fd, w::FileStandardInfo);
    if standard.is_ok_and(|info| info.DeletePending || info.NumberOfLinks == 0) {
        plain.push(" (deleted)");
    }
    plain.into()
}

/// Opens a file with no access at all, which is enough to ask what it is, and refused by no share mode.
///
/// # Errors
/// Those of `CreateFileW`.
pub(super) fn look_at(path: &Path) -> io::Result<File> {
    OpenOptions::new().access_mode(0).share_mode(SHARE_ALL).open(path)
}

/// Whether the last call of this thread failed because somebody has yet to close a file that was deleted.
pub(super) fn is_being_deleted() -> bool {
    #[link(name = "ntdll")]
    unsafe extern "system" {
        safe fn RtlGetLastNtStatus() -> i32;
    }
    RtlGetLastNtStatus() == STATUS_DELETE_PENDING
}

pub(super) const SHARE_ALL: u32 = w::FILE_SHARE_READ | w::FILE_SHARE_WRITE | w::FILE_SHARE_DELETE;

/// A handle of our own on the same file. Its offset is its own, and it keeps nobody from renaming or deleting the
/// file.
///
/// # Errors
/// `EACCES` where the program's handle does not share the file, and the like.
pub(crate) fn reopen(fd: Borrowed<'_>, writable: bool) -> Result<OwnedHandle, Errno> {
    let access = GENERIC_READ | if writable { GENERIC_WRITE } else { 0 };
    // SAFETY: takes a handle.
    let new = unsafe { w::ReOpenFile(fd.as_raw_handle(), access, SHARE_ALL, 0) };
    if new != INVALID_HANDLE_VALUE && !new.is_null() {
        // SAFETY: just opened, owned by nobody else.
        return Ok(unsafe { OwnedHandle::from_raw_handle(new) });
    }
    let refused = Errno::last();
    let mut name = wide_name(fd).ok_or(refused)?;
    name.push(0);
    let none = core::ptr::null_mut();
    // SAFETY: a name that ends in zero.
    let new =
        unsafe { w::CreateFileW(name.as_ptr(), access, SHARE_ALL, none, w::OPEN_EXISTING, 0, none.cast()) };
    if new == INVALID_HANDLE_VALUE {
        return Err(refused);
    }
    // SAFETY: just opened, owned by nobody else.
    let new = unsafe { OwnedHandle::from_raw_handle(new) };
    if identity(new.as_handle())? == identity(fd)? { Ok(new) } else { Err(refused) }
}

/// A second handle on the program's own open file, whose offset it shares.
///
/// # Errors
/// `EBADF`, `ENOMEM`.
pub(crate) fn duplicate(fd: Borrowed<'_>) -> Result<OwnedHandle, Errno> {
    let mut new = core::ptr::null_mut();
    // SAFETY: an out-pointer; the pseudo-handle of this process is always valid.
    let done = unsafe {
        let this = GetCurrentProcess();
        DuplicateHandle(this, fd.as_raw_handle(), this, &raw mut new, 0, 0, DUPLICATE_SAME_ACCESS)
    };
    if done == 0 {
        return Err(Errno::last());
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedHandle::from_raw_handle(new) })
}

/// The offset of an open file.
pub(crate) fn position(fd: Borrowed<'_>) -> Option<i64> {
    let mut at = 0;
    // SAFETY: an out-pointer to a live number.
    let done = unsafe { w::SetFilePointerEx(fd.as_raw_handle(), 0, &raw mut at, w::FILE_CURRENT) };
    (done != 0).then_some(at)
}

/// Sets it.
pub(crate) fn set_position(fd: Borrowed<'_>, at: i64) {
    // SAFETY: takes a handle; no out-pointer.
    unsafe { w::SetFilePointerEx(fd.as_raw_handle(), at, core::ptr::null_mut(), w::FILE_BEGIN) };
}

fn at(off: u64) -> OVERLAPPED {
    // SAFETY: plain data; zero is what it has to be but for the offset.
    let mut overlapped: OVERLAPPED = unsafe { core::mem::zeroed() };
    overlapped.Anonymous.Anonymous.Offset = off as u32;
    overlapped.Anonymous.Anonymous.OffsetHigh = (off >> 32) as u32;
    overlapped
}

/// More than this in one call gains nothing.
const MOST: usize = 1 << 30;

/// Reads at an offset into raw memory; 0 at the end of the file.
///
/// # Safety
/// `buf` must be writable for `len` bytes; no reference may be held into it.
///
/// # Errors
/// Those of `ReadFile`.
pub(crate) unsafe fn pread(fd: Borrowed<'_>, buf: *mut u8, len: usize, off: u64) -> Result<usize, Errno> {
    let (mut overlapped, mut done) = (at(off), 0);
    let (handle, len) = (fd.as_raw_handle(), len.min(MOST) as u32);
    // SAFETY: the caller vouches for the buffer; the handle is synchronous, so nothing is under way afterwards.
    let read = unsafe { w::ReadFile(handle, buf, len, &raw mut done, &raw mut overlapped) };
    // SAFETY: reads a number.
    if read == 0 && unsafe { GetLastError() } != ERROR_HANDLE_EOF {
        return Err(Errno::last());
    }
    Ok(done as usize)
}

/// Writes at an offset from raw memory.
///
/// # Safety
/// `buf` must be readable for `len` bytes.
///
/// # Errors
/// Those of `WriteFile`.
pub(crate) unsafe fn pwrite(fd: Borrowed<'_>, buf: *const u8, len: usize, off: u64) -> Result<usize, Errno> {
    let (mut overlapped, mut done) = (at(off), 0);
    let (handle, len) = (fd.as_raw_handle(), len.min(MOST) as u32);
    // SAFETY: as in `pread`.
    if unsafe { w::WriteFile(handle, buf, len, &raw mut done, &raw mut overlapped) } == 0 {
        return Err(Errno::last());
    }
    Ok(done as usize)
}

/// Returns when what was written is on the storage.
///
/// # Errors
/// Those of `FlushFileBuffers`.
pub(crate) fn flush(fd: Borrowed<'_>) -> Result<(), Errno> {
    // SAFETY: takes a handle.
    if unsafe { w::FlushFileBuffers(fd.as_raw_handle()) } == 0 { Err(Errno::last()) } else { Ok(()) }
}

/// The length, and the time of last modification in units of 100 ns.
///
/// Not the time of last *change*, which a new name or another attribute moves as well.
///
/// # Errors
/// What the file system says.
pub(crate) fn len_and_mtime(fd: Borrowed<'_>) -> Result<(u64, u64), Errno> {
    let basic: w::FILE_BASIC_INFO = information(fd, w::FileBasicInfo)?;
    Ok((facts(fd)?.len, basic.LastWriteTime as u64))
}

/// Sets the time of last modification to now. NTFS may leave that until the handle that was written through is closed:
/// our own write would look like somebody else's then. `shared`: the handle is a duplicate of the program's, whose own
/// writes shall set the time again.
///
/// It is a matter of what is noticed, not of what is written: an error is of no consequence.
pub(crate) fn touch(fd: Borrowed<'_>, shared: bool) {
    /// 1970 in units of 100 ns since 1601.
    const EPOCH: i64 = 116_444_736_000_000_000;
    /// What makes the system set the time by itself again (NTFS, ReFS; others refuse it).
    const BY_ITSELF: i64 = -2;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = EPOCH + (since.as_nanos() / 100) as i64;
    for time in [now, BY_ITSELF].into_iter().take(1 + usize::from(shared)) {
        // SAFETY: plain numbers; zero is "as it is".
        let mut info: w::FILE_BASIC_INFO = unsafe { core::mem::zeroed() };
        info.LastWriteTime = time;
        let _ = set_information(fd, w::FileBasicInfo, &info);
    }
}

fn set_information<T>(fd: Borrowed<'_>, class: w::FILE_INFO_BY_HANDLE_CLASS, info: &T) -> Result<(), Errno> {
    let (from, len) = (&raw const *info, size_of::<T>() as u32);
    // SAFETY: `info` has the size that is said, and is the structure of that class.
    let done = unsafe { w::SetFileInformationByHandle(fd.as_raw_handle(), class, from.cast(), len) };
    if done == 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Changes the length; what is new reads zero.
///
/// # Errors
/// `ENOSPC` and what else the file system says.
pub(crate) fn set_len(fd: Borrowed<'_>, len: u64) -> Result<(), Errno> {
    let end = i64::try_from(len).map_err(|_| Errno::FBIG)?;
    set_information(fd, w::FileEndOfFileInfo, &w::FILE_END_OF_FILE_INFO { EndOfFile: end })
}

/// Does something that makes a file longer, for which a process has no limit on this system.
///
/// # Errors
/// Those of `act`.
pub(crate) fn with_file_size<T>(_: u64, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    act()
}
