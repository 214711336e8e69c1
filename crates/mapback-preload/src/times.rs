//! Setting a file's times. They are how a change by others is noticed: one that the program makes is none.

use crate::any_images;
use crate::files::{changing, changing_at, named};
use crate::next::next;
use libc::{c_char, c_int, timespec, timeval, utimbuf};
use mapback::posix::Change;

next! {
    fn futimens(fd: c_int, times: *const timespec) -> c_int;
    fn futimes(fd: c_int, times: *const timeval) -> c_int;
    fn utimensat(dir: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int;
    fn futimesat(dir: c_int, path: *const c_char, times: *const timeval) -> c_int;
    fn utimes(path: *const c_char, times: *const timeval) -> c_int;
    fn lutimes(path: *const c_char, times: *const timeval) -> c_int;
    fn utime(path: *const c_char, times: *const utimbuf) -> c_int;
}

/// Makes a call that sets the times of the file of a name.
fn of_name(dir: c_int, path: *const c_char, follow: bool, call: impl Fn() -> c_int) -> c_int {
    if any_images().is_none() || path.is_null() {
        return call();
    }
    match named(dir, path, follow) {
        Some(file) => changing_at(&file, call, |value| value == 0),
        None => call(),
    }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn futimens(fd: c_int, times: *const timespec) -> c_int {
    // SAFETY: the program's own request.
    changing(fd, Change::Nothing, || unsafe { real::futimens(fd, times) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn futimes(fd: c_int, times: *const timeval) -> c_int {
    // SAFETY: the program's own request.
    changing(fd, Change::Nothing, || unsafe { real::futimes(fd, times) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn utimensat(
    dir: c_int,
    path: *const c_char,
    times: *const timespec,
    flags: c_int,
) -> c_int {
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    // SAFETY: the program's own request.
    of_name(dir, path, follow, || unsafe { real::utimensat(dir, path, times, flags) })
}

/// Without a name it is `futimes`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn futimesat(dir: c_int, path: *const c_char, times: *const timeval) -> c_int {
    // SAFETY: the program's own request.
    let call = || unsafe { real::futimesat(dir, path, times) };
    if path.is_null() {
        return changing(dir, Change::Nothing, call);
    }
    of_name(dir, path, true, call)
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn utimes(path: *const c_char, times: *const timeval) -> c_int {
    // SAFETY: the program's own request.
    of_name(libc::AT_FDCWD, path, true, || unsafe { real::utimes(path, times) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn lutimes(path: *const c_char, times: *const timeval) -> c_int {
    // SAFETY: the program's own request.
    of_name(libc::AT_FDCWD, path, false, || unsafe { real::lutimes(path, times) })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn utime(path: *const c_char, times: *const utimbuf) -> c_int {
    // SAFETY: the program's own request.
    of_name(libc::AT_FDCWD, path, true, || unsafe { real::utime(path, times) })
}
