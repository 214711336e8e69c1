//! Calls on whole files: opening with truncation, changing the length, and forcing content to the storage.

use crate::errno::{count, last as last_error, status};
use crate::next::next;
use crate::writes::changed_unseen;
use crate::{any_images, concerned, existing, forget_fd};
use libc::{FILE, c_char, c_int, c_uint, mode_t, off64_t};
use mapback::posix::{Again, Change, Kind};
use mapback::raw::{self, Sysno};
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};

next! {
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE;
    fn freopen64(path: *const c_char, mode: *const c_char, old: *mut FILE) -> *mut FILE;
    fn ftruncate64(fd: c_int, len: off64_t) -> c_int;
    fn truncate64(path: *const c_char, len: off64_t) -> c_int;
    fn fallocate64(fd: c_int, mode: c_int, off: off64_t, len: off64_t) -> c_int;
    fn posix_fallocate64(fd: c_int, off: off64_t, len: off64_t) -> c_int;
    fn fsync(fd: c_int) -> c_int;
    fn fdatasync(fd: c_int) -> c_int;
    fn sync_file_range(fd: c_int, off: off64_t, len: off64_t, flags: c_uint) -> c_int;
    fn syncfs(fd: c_int) -> c_int;
    fn sync();
}

/// Opens a file. One that has an image is truncated in step with it, so that no write-back that is under way makes it
/// longer again.
fn opening(dir: c_int, path: *const c_char, flags: c_int, open: impl Fn() -> c_int) -> c_int {
    let fd = truncating(dir, path, flags, open);
    forget_fd(fd);
    fd
}

/// As [`opening`].
fn truncating(dir: c_int, path: *const c_char, flags: c_int, open: impl Fn() -> c_int) -> c_int {
    if flags & libc::O_TRUNC == 0 || path.is_null() {
        return open();
    }
    if any_images().is_none() {
        let fd = open();
        if fd >= 0 {
            forget_fd(fd);
            truncated(fd);
        }
        return fd;
    }
    match named(dir, path, flags & libc::O_NOFOLLOW == 0) {
        Some(file) => changing_at(&file, open, |fd| fd >= 0),
        None => open(),
    }
}

/// Looks a file up, for one call. What is wrong with the arguments, be it an address that is none, the kernel will say at
/// the program's own call.
pub(crate) fn named(dir: c_int, path: *const c_char, follow: bool) -> Option<OwnedFd> {
    let flags = libc::O_PATH | libc::O_CLOEXEC | if follow { 0 } else { libc::O_NOFOLLOW };
    // SAFETY: the kernel looks at the name, and nobody else.
    let fd = unsafe { raw::call(Sysno::openat, [dir as usize, path as usize, flags as usize, 0, 0, 0]) };
    // SAFETY: opened in the line above.
    fd.ok().map(|fd| unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// After a stream was opened by libc itself: what it truncated is gone from the image too.
fn truncated(fd: c_int) {
    if let Some(space) = concerned(fd)
        && let Err(errno) = space.changing(fd, Kind::Writes, || ((), Change::Nothing))
    {
        crate::settings::report(&format!("cannot follow a truncation by fopen: {errno}"));
    }
}

/// # Safety
/// As libc's. The third argument is there only with `O_CREAT` or `O_TMPFILE`; else nobody looks at it.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the program's own request.
    opening(libc::AT_FDCWD, path, flags, || unsafe { real::open64(path, flags, mode) })
}

/// # Safety
/// As `open64`: on 64-bit systems they are the same.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the same function.
    unsafe { open64(path, flags, mode) }
}

/// # Safety
/// As libc's; see `open64`.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the program's own request.
    opening(dir, path, flags, || unsafe { real::openat64(dir, path, flags, mode) })
}

/// # Safety
/// As `openat64`.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the same function.
    unsafe { openat64(dir, path, flags, mode) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: what creat is defined to be.
    unsafe { open64(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn creat64(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the same function.
    unsafe { creat(path, mode) }
}

/// The fortified `open` without mode.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the program's own request.
    unsafe { open64(path, flags, 0) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __open_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the program's own request.
    unsafe { open64(path, flags, 0) }
}

/// After a stream was opened: a mode that begins with `w` truncates.
///
/// # Safety
/// `mode` must be a C string, and `file` null or a stream.
unsafe fn stream_opened(file: *mut FILE, mode: *const c_char) -> *mut FILE {
    if !file.is_null() {
        // SAFETY: the caller's word.
        let fd = unsafe { libc::fileno(file) };
        forget_fd(fd);
        // SAFETY: the caller's word; the string has at least its end.
        if unsafe { *mode } == b'w' as c_char {
            truncated(fd);
        }
    }
    file
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: the program's own request.
    unsafe { stream_opened(real::fopen64(path, mode), mode) }
}

/// # Safety
/// As `fopen64`: on 64-bit systems they are the same.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: the same function.
    unsafe { fopen64(path, mode) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn freopen64(path: *const c_char, mode: *const c_char, old: *mut FILE) -> *mut FILE {
    // SAFETY: the program's own request.
    unsafe { stream_opened(real::freopen64(path, mode, old), mode) }
}

/// # Safety
/// As `freopen64`.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn freopen(path: *const c_char, mode: *const c_char, old: *mut FILE) -> *mut FILE {
    // SAFETY: the same function.
    unsafe { freopen64(path, mode, old) }
}

/// Runs a call that changes the file behind `fd`; its value is −1 with `errno`, or good.
pub(crate) fn changing(fd: c_int, change: Change, call: impl Fn() -> c_int) -> c_int {
    changing_to(fd, Kind::Writes, change, call, |value| value == 0)
}

/// As [`changing`], for a file that was looked up for this call alone: the number stands for something else next.
pub(crate) fn changing_at(file: &OwnedFd, call: impl Fn() -> c_int, good: impl Fn(c_int) -> bool) -> c_int {
    let done = changing_to(file.as_raw_fd(), Kind::Writes, Change::Nothing, call, good);
    forget_fd(file.as_raw_fd());
    done
}

/// As [`changing`], for a call whose good values `good` knows.
fn changing_to(
    fd: c_int,
    kind: Kind,
    change: Change,
    call: impl Fn() -> c_int,
    good: impl Fn(c_int) -> bool,
) -> c_int {
    let Some(space) = concerned(fd) else {
        let done = call();
        if good(done) {
            changed_unseen(fd, change, Again::No);
        }
        return done;
    };
    let done = space.changing(fd, kind, || {
        let done = call();
        let failed = (done < 0).then(last_error);
        ((done, failed), if good(done) { change } else { Change::Nothing })
    });
    match done {
        Ok((_, Some(errno))) | Err(errno) => status(Err(errno)),
        Ok((done, None)) => done,
    }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ftruncate64(fd: c_int, len: off64_t) -> c_int {
    // SAFETY: the program's own request.
    changing(fd, Change::Nothing, || unsafe { real::ftruncate64(fd, len) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ftruncate(fd: c_int, len: off64_t) -> c_int {
    // SAFETY: the same function.
    unsafe { ftruncate64(fd, len) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn truncate64(path: *const c_char, len: off64_t) -> c_int {
    // SAFETY: the program's own request.
    let call = || unsafe { real::truncate64(path, len) };
    if any_images().is_none() || path.is_null() {
        return call();
    }
    match named(libc::AT_FDCWD, path, true) {
        Some(file) => changing_at(&file, call, |value| value == 0),
        None => call(),
    }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn truncate(path: *const c_char, len: off64_t) -> c_int {
    // SAFETY: the same function.
    unsafe { truncate64(path, len) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fallocate64(fd: c_int, mode: c_int, off: off64_t, len: off64_t) -> c_int {
    let (kind, change) = match mode & !libc::FALLOC_FL_KEEP_SIZE {
        0 => (Kind::Writes, Change::Nothing),
        libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE => {
            (Kind::Writes, Change::Wrote(off as u64..(off as u64).saturating_add(len as u64)))
        }
        _ => (Kind::Moves, Change::Wrote(0..u64::MAX)),
    };
    // SAFETY: the program's own request.
    changing_to(fd, kind, change, || unsafe { real::fallocate64(fd, mode, off, len) }, |value| value == 0)
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fallocate(fd: c_int, mode: c_int, off: off64_t, len: off64_t) -> c_int {
    // SAFETY: the same function.
    unsafe { fallocate64(fd, mode, off, len) }
}

/// Returns the error instead of setting `errno`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn posix_fallocate64(fd: c_int, off: off64_t, len: off64_t) -> c_int {
    // SAFETY: the program's own request.
    let done = changing(fd, Change::Nothing, || unsafe { real::posix_fallocate64(fd, off, len) });
    if done >= 0 { done } else { last_error().raw_os_error() }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn posix_fallocate(fd: c_int, off: off64_t, len: off64_t) -> c_int {
    // SAFETY: the same function.
    unsafe { posix_fallocate64(fd, off, len) }
}

/// Writes the image's changes back before the kernel syncs the file (L3).
fn synced(fd: c_int, call: impl Fn() -> c_int) -> c_int {
    if let Some(space) = concerned(fd)
        && let Err(errno) = space.before_sync(fd)
    {
        return count(Err(errno)) as c_int;
    }
    call()
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fsync(fd: c_int) -> c_int {
    // SAFETY: the program's own request.
    synced(fd, || unsafe { real::fsync(fd) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: the program's own request.
    synced(fd, || unsafe { real::fdatasync(fd) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sync_file_range(fd: c_int, off: off64_t, len: off64_t, flags: c_uint) -> c_int {
    // SAFETY: the program's own request.
    synced(fd, || unsafe { real::sync_file_range(fd, off, len, flags) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn syncfs(fd: c_int) -> c_int {
    if let Some(space) = existing() {
        space.flush_everybody();
    }
    // SAFETY: the program's own request.
    unsafe { real::syncfs(fd) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sync() {
    if let Some(space) = existing() {
        space.flush_everybody();
    }
    // SAFETY: the program's own request.
    unsafe { real::sync() }
}
