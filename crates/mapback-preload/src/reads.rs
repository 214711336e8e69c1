//! Calls that read: a file that has an image must show the image's changes, and memory that the `fault` tracker
//! armed must be opened for the kernel first (it would get `EFAULT`, not a fault that we could handle).

use crate::concerned;
use crate::errno::{count, last as last_error};
use crate::next::next;
use libc::{c_int, c_uint, c_void, iovec, msghdr, off64_t, size_t, sockaddr, socklen_t, ssize_t};
use mapback::raw::{self, Held};

next! {
    fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t;
    fn pread64(fd: c_int, buf: *mut c_void, len: size_t, off: off64_t) -> ssize_t;
    fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    fn preadv64(fd: c_int, iov: *const iovec, n: c_int, off: off64_t) -> ssize_t;
    fn preadv64v2(fd: c_int, iov: *const iovec, n: c_int, off: off64_t, flags: c_int) -> ssize_t;
    fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    fn recvfrom(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr, n: *mut socklen_t)
        -> ssize_t;
    fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t;
    fn getrandom(buf: *mut c_void, len: size_t, flags: c_uint) -> ssize_t;
    fn fread(buf: *mut c_void, size: size_t, n: size_t, file: *mut libc::FILE) -> size_t;
}

/// Reads a file that may have an image.
fn through(
    fd: c_int,
    off: Option<i64>,
    buffers: &[(usize, usize)],
    call: impl FnOnce() -> ssize_t,
) -> ssize_t {
    let Some(space) = concerned(fd) else { return call() };
    let off = off.and_then(|off| u64::try_from(off).ok());
    let call = || {
        let done = call();
        usize::try_from(done).map_err(|_| last_error())
    };
    // SAFETY: the buffers of the program's own request, which is to write to them.
    count(unsafe { space.reading(fd, off, buffers, call) })
}

/// What a vector of buffers names: `iov` points to `n` vectors, as the program promised the kernel, which reads it too.
pub(crate) fn vectors(iov: *const iovec, n: c_int) -> Vec<(usize, usize)> {
    if iov.is_null() || !(0..=1024).contains(&n) {
        return Vec::new();
    }
    // SAFETY: the caller's word.
    let vectors = unsafe { core::slice::from_raw_parts(iov, n as usize) };
    vectors.iter().map(|v| (v.iov_base as usize, v.iov_len)).collect()
}

/// Memory, opened for the kernel; `None` when none of it is armed by faults.
fn open(buf: *mut c_void, len: size_t) -> Option<Held> {
    raw::hold(buf as usize..(buf as usize).saturating_add(len))
}

/// Opens what a vector of buffers names; `None` when none of them is armed by faults.
///
/// # Safety
/// `iov` must point to `n` vectors, as the program promised the kernel.
pub(crate) unsafe fn open_all(iov: *const iovec, n: c_int) -> Option<Vec<Held>> {
    if !raw::signal::segv_is_ours() || iov.is_null() || !(0..=1024).contains(&n) {
        return None;
    }
    // SAFETY: the caller's word.
    let vectors = unsafe { core::slice::from_raw_parts(iov, n as usize) };
    let held: Vec<Held> = vectors.iter().filter_map(|v| open(v.iov_base, v.iov_len)).collect();
    if held.is_empty() { None } else { Some(held) }
}

/// Makes the call, holding the memory; `$real` is a cancellation point.
macro_rules! holding {
    ($held:expr, $real:expr) => {{
        let held = $held;
        // SAFETY: the program's own request. A cancellation unwinds through here and lets go of the memory.
        let done = unsafe { $real };
        drop(held);
        done
    }};
}

/// As [`holding`], for what reads a descriptor: first of all, and with nothing in its way, what does not concern us.
macro_rules! reading {
    ($fd:expr, $off:expr, $buffers:expr, $held:expr, $real:expr) => {{
        if !raw::signal::segv_is_ours() && concerned($fd).is_none() {
            // SAFETY: the program's own request.
            return unsafe { $real };
        }
        // SAFETY: as above. A cancellation unwinds through here and lets go of the memory.
        watched($fd, $off, move || ($held, $buffers), move || unsafe { $real })
    }};
}

/// Reads into memory that may be armed, from a file that may have an image.
#[cold]
#[inline(never)]
fn watched<H, B: AsRef<[(usize, usize)]>>(
    fd: c_int,
    off: Option<i64>,
    memory: impl FnOnce() -> (H, B),
    call: impl FnOnce() -> ssize_t,
) -> ssize_t {
    let (held, buffers) = memory();
    let done = through(fd, off, buffers.as_ref(), call);
    drop(held);
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    reading!(fd, None, [(buf as usize, len)], open(buf, len), real::read(fd, buf, len))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t) -> ssize_t {
    checked(len, room);
    // SAFETY: the program's own request.
    unsafe { read(fd, buf, len) }
}

/// What fortified calls check: a buffer that is too small ends the process.
fn checked(len: size_t, room: size_t) {
    if len > room {
        crate::settings::report("buffer overflow detected in a read; ending the program");
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pread(fd: c_int, buf: *mut c_void, len: size_t, off: off64_t) -> ssize_t {
    // SAFETY: the same function.
    unsafe { pread64(fd, buf, len, off) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pread64(fd: c_int, buf: *mut c_void, len: size_t, off: off64_t) -> ssize_t {
    reading!(fd, Some(off), [(buf as usize, len)], open(buf, len), real::pread64(fd, buf, len, off))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pread_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    off: off64_t,
    room: size_t,
) -> ssize_t {
    checked(len, room);
    // SAFETY: the program's own request.
    unsafe { pread64(fd, buf, len, off) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pread64_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    off: off64_t,
    room: size_t,
) -> ssize_t {
    // SAFETY: the same function.
    unsafe { __pread_chk(fd, buf, len, off, room) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    // SAFETY: the program's own vectors.
    reading!(fd, None, vectors(iov, n), unsafe { open_all(iov, n) }, real::readv(fd, iov, n))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn preadv(fd: c_int, iov: *const iovec, n: c_int, off: off64_t) -> ssize_t {
    // SAFETY: the same function.
    unsafe { preadv64(fd, iov, n, off) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn preadv64(fd: c_int, iov: *const iovec, n: c_int, off: off64_t) -> ssize_t {
    // SAFETY: the program's own vectors.
    reading!(fd, Some(off), vectors(iov, n), unsafe { open_all(iov, n) }, real::preadv64(fd, iov, n, off))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn preadv2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    off: off64_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the same function.
    unsafe { preadv64v2(fd, iov, n, off, flags) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn preadv64v2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    off: off64_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the program's own vectors.
    let held = unsafe { open_all(iov, n) };
    let at = if off == -1 { None } else { Some(off) };
    reading!(fd, at, vectors(iov, n), held, real::preadv64v2(fd, iov, n, off, flags))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    holding!(open(buf, len), real::recv(fd, buf, len, flags))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    holding!(open(buf, len), real::recvfrom(fd, buf, len, flags, from, from_len))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the program gave the kernel a message header; a null one is left to the kernel.
    let held = unsafe { msg.as_ref().and_then(|m| open_all(m.msg_iov, m.msg_iovlen as c_int)) };
    holding!(held, real::recvmsg(fd, msg, flags))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn getrandom(buf: *mut c_void, len: size_t, flags: c_uint) -> ssize_t {
    holding!(open(buf, len), real::getrandom(buf, len, flags))
}

/// A large `fread` reads straight into the program's memory, inside libc.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fread(
    buf: *mut c_void,
    size: size_t,
    n: size_t,
    file: *mut libc::FILE,
) -> size_t {
    // SAFETY: the program's own stream.
    let fd = unsafe { libc::fileno(file) };
    if let Some(space) = concerned(fd) {
        // An error shows in the read itself.
        let _ = space.before_read(fd);
    }
    let held = open(buf, size.saturating_mul(n));
    // SAFETY: the program's own request.
    let done = unsafe { real::fread(buf, size, n, file) };
    drop(held);
    done
}
