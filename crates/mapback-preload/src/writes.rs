//! Calls that change a file's bytes: if it has an image, image and file must stay one (L2).

use crate::concerned;
use crate::errno::{count, last as last_error};
use crate::next::next;
use crate::reads::vectors;
use libc::{c_int, c_uint, c_void, iovec, off64_t, size_t, ssize_t};
use mapback::Errno;
use mapback::posix::{Again, Change, Kind};
use mapback::raw::{self, Sysno};
use rustix::fd::BorrowedFd;
use rustix::fs::{OFlags, SeekFrom};

next! {
    fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t;
    fn pwrite64(fd: c_int, buf: *const c_void, len: size_t, off: off64_t) -> ssize_t;
    fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    fn pwritev64(fd: c_int, iov: *const iovec, n: c_int, off: off64_t) -> ssize_t;
    fn pwritev64v2(fd: c_int, iov: *const iovec, n: c_int, off: off64_t, flags: c_int) -> ssize_t;
    fn sendfile64(out: c_int, from: c_int, off: *mut off64_t, len: size_t) -> ssize_t;
    fn copy_file_range(from: c_int, from_off: *mut off64_t, to: c_int, to_off: *mut off64_t, len: size_t,
        flags: c_uint) -> ssize_t;
    fn splice(from: c_int, from_off: *mut off64_t, to: c_int, to_off: *mut off64_t, len: size_t,
        flags: c_uint) -> ssize_t;
}

/// Makes a call that writes to `fd` at `off`, or at the file offset; first of all, and with nothing in its way, one that
/// does not concern us.
macro_rules! writing {
    ($fd:expr, $off:expr, $nr:expr, $args:expr, $real:expr) => {
        writing!($fd, $off, 0, $nr, $args, $real)
    };
    ($fd:expr, $off:expr, $flags:expr, $nr:expr, $args:expr, $real:expr) => {{
        if concerned($fd).is_none() {
            // SAFETY: the program's own request.
            let done = unsafe { $real };
            // Somebody may have mapped the file meanwhile, and have read it before this was written.
            if done > 0 && concerned($fd).is_some() {
                wrote_unseen($fd, ($off, $flags), $nr, $args, done as usize);
            }
            return done;
        }
        write_through($fd, ($off, $flags), $nr, $args)
    }};
}

#[cold]
#[inline(never)]
fn write_through(fd: c_int, place: (Option<i64>, c_int), nr: Sysno, args: [usize; 6]) -> ssize_t {
    // SAFETY: the program's own request.
    let call = || unsafe { raw::call(nr, args) };
    let Some(space) = concerned(fd) else { return count(call()) };
    let known = || {
        let done = call();
        let change = done.map_or(Change::Nothing, |n| wrote(fd, place, n as u64));
        (done, change)
    };
    count(match space.changing_image(fd, Kind::Writes, known) {
        Ok(done) => done.and_then(|done| done),
        // It was somebody else's count, or a dead one's: as if it had not been concerned.
        Err(_) => {
            let done = call();
            if let Ok(n @ 1..) = done {
                wrote_unseen(fd, place, nr, args, n);
            }
            done
        }
    })
}

/// After a call that wrote `n` bytes to a file which nobody had mapped when it began.
#[cold]
#[inline(never)]
fn wrote_unseen(fd: c_int, place: (Option<i64>, c_int), nr: Sysno, args: [usize; 6], n: usize) {
    let written = buffers(nr, args, n);
    let again = match place.0 {
        Some(_) if !appends(fd, place.1) => Again::There(&written),
        // Who shares the open file may have moved its offset, or have appended, since.
        _ => Again::Somewhere,
    };
    changed_unseen(fd, wrote(fd, place, n as u64), again);
}

/// After a call that changed a file which nobody had mapped when it began.
pub(crate) fn changed_unseen(fd: c_int, change: Change, again: Again<'_>) {
    let Some(space) = concerned(fd) else { return };
    // SAFETY: buffers of our own, or those of the program's own request, which has just read them.
    if let Err(errno) = unsafe { space.after_unseen_change(fd, &change, again) } {
        crate::settings::report(&format!("cannot take over what was written to a mapped file: {errno}"));
    }
}

/// The first `n` bytes of what a writing call named.
fn buffers(nr: Sysno, args: [usize; 6], n: usize) -> Vec<(usize, usize)> {
    let all = match nr {
        Sysno::write | Sysno::pwrite64 => vec![(args[1], n)],
        _ => vectors(args[1] as *const iovec, args[2] as c_int),
    };
    let mut left = n;
    let mut clip = |(addr, len): (usize, usize)| {
        let len = len.min(left);
        left -= len;
        (addr, len)
    };
    all.into_iter().map(&mut clip).collect()
}

/// Whether a call with these flags of `pwritev2` writes at the end of the file, wherever it says.
fn appends(fd: c_int, flags: c_int) -> bool {
    const RWF_NOAPPEND: c_int = 0x20;
    // SAFETY: open: the call on it has just succeeded.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let always = || rustix::fs::fcntl_getfl(fd).is_ok_and(|f| f.contains(OFlags::APPEND));
    flags & libc::RWF_APPEND != 0 || flags & RWF_NOAPPEND == 0 && always()
}

/// Where `n` bytes have just gone.
fn wrote(fd: c_int, (off, flags): (Option<i64>, c_int), n: u64) -> Change {
    let appends = appends(fd, flags);
    // SAFETY: open: the call on it has just succeeded.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let end = match off {
        _ if appends => rustix::fs::fstat(fd).map(|st| st.st_size as u64),
        Some(off) => Ok(off as u64 + n),
        None => rustix::fs::seek(fd, SeekFrom::Current(0)),
    };
    end.map_or(Change::Unknown, |end| Change::Wrote(end.saturating_sub(n)..end))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    let args = [fd as usize, buf as usize, len, 0, 0, 0];
    writing!(fd, None, Sysno::write, args, real::write(fd, buf, len))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwrite(fd: c_int, buf: *const c_void, len: size_t, off: off64_t) -> ssize_t {
    // SAFETY: the same function.
    unsafe { pwrite64(fd, buf, len, off) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwrite64(fd: c_int, buf: *const c_void, len: size_t, off: off64_t) -> ssize_t {
    let args = [fd as usize, buf as usize, len, off as usize, 0, 0];
    writing!(fd, Some(off), Sysno::pwrite64, args, real::pwrite64(fd, buf, len, off))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    let args = [fd as usize, iov as usize, n as usize, 0, 0, 0];
    writing!(fd, None, Sysno::writev, args, real::writev(fd, iov, n))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwritev(fd: c_int, iov: *const iovec, n: c_int, off: off64_t) -> ssize_t {
    // SAFETY: the same function.
    unsafe { pwritev64(fd, iov, n, off) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwritev64(fd: c_int, iov: *const iovec, n: c_int, off: off64_t) -> ssize_t {
    let args = [fd as usize, iov as usize, n as usize, off as usize, 0, 0];
    writing!(fd, Some(off), Sysno::pwritev, args, real::pwritev64(fd, iov, n, off))
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwritev2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    off: off64_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the same function.
    unsafe { pwritev64v2(fd, iov, n, off, flags) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwritev64v2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    off: off64_t,
    flags: c_int,
) -> ssize_t {
    let args = [fd as usize, iov as usize, n as usize, off as usize, 0, flags as usize];
    let at = if off == -1 { None } else { Some(off) };
    writing!(fd, at, flags, Sysno::pwritev2, args, real::pwritev64v2(fd, iov, n, off, flags))
}

/// What was copied from `at` by a call that began when nobody had mapped the file to which it went, read again.
fn source(from: c_int, at: i64, n: usize) -> Vec<u8> {
    const MOST: usize = 16 << 20;
    // SAFETY: open: the call on it has just succeeded.
    let from = unsafe { BorrowedFd::borrow_raw(from) };
    let mut bytes = vec![0; if n <= MOST { n } else { 0 }];
    let read = rustix::io::pread(from, &mut bytes[..], at as u64);
    if read == Ok(n) { bytes } else { Vec::new() }
}

/// Where a call began that moved `n` bytes from, or to, an offset that the program named. It is looked at after the call,
/// by which the kernel moved it on: whether the pointer is any good the kernel has to say, with `EFAULT`.
///
/// # Safety
/// `off` must be null, or the call have succeeded.
unsafe fn began(off: *const off64_t, n: ssize_t) -> Option<i64> {
    // SAFETY: the kernel wrote it just now, wherever it is aligned.
    (!off.is_null()).then(|| unsafe { off.read_unaligned() } - n as i64)
}

/// Makes a call that copies from one descriptor to another, at the offsets that these point to, or at the files' own.
///
/// # Safety
/// `call` must be one that moves on what the pointers point to, where they are not null.
unsafe fn copy_through(
    (from, from_off): (c_int, *const off64_t),
    (to, to_off): (c_int, *const off64_t),
    call: impl Fn() -> ssize_t,
) -> ssize_t {
    if let Some(space) = concerned(from)
        && let Err(errno) = space.before_read(from)
    {
        return count(Err(errno));
    }
    // SAFETY: called for a count that the call returned.
    let went_to = |done| unsafe { began(to_off, done) };
    let unseen = || {
        let done = call();
        if done > 0 && concerned(to).is_some() {
            let off = went_to(done);
            // Only from a place that the program named: who shares an open file may have moved its offset since.
            let placed = off.is_some() && !appends(to, 0);
            // SAFETY: the call has succeeded.
            let copied = match unsafe { began(from_off, done) } {
                Some(at) if placed => source(from, at, done as usize),
                _ => Vec::new(),
            };
            let buffers = [(copied.as_ptr() as usize, copied.len())];
            let again = match placed {
                false => Again::Somewhere,
                true if copied.is_empty() => Again::No,
                true => Again::There(&buffers),
            };
            changed_unseen(to, wrote(to, (off, 0), done as u64), again);
        }
        done
    };
    let Some(space) = concerned(to) else { return unseen() };
    let done = space.changing_image(to, Kind::Writes, || {
        let done = call();
        let failed = (done < 0).then(last_error);
        let change = if done > 0 { wrote(to, (went_to(done), 0), done as u64) } else { Change::Nothing };
        ((done, failed), change)
    });
    match done {
        Err(_) => unseen(),
        Ok(Ok((_, Some(errno))) | Err(errno)) => count(Err(errno)),
        Ok(Ok((done, None))) => done,
    }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendfile(out: c_int, from: c_int, off: *mut off64_t, len: size_t) -> ssize_t {
    // SAFETY: the same function.
    unsafe { sendfile64(out, from, off, len) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendfile64(out: c_int, from: c_int, off: *mut off64_t, len: size_t) -> ssize_t {
    // SAFETY: the program's own request, which moves the offset on.
    unsafe { copy_through((from, off), (out, core::ptr::null()), || real::sendfile64(out, from, off, len)) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C-unwind" fn copy_file_range(
    from: c_int,
    from_off: *mut off64_t,
    to: c_int,
    to_off: *mut off64_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the program's own request, which moves the offsets on.
    unsafe {
        let call = || real::copy_file_range(from, from_off, to, to_off, len, flags);
        copy_through((from, from_off), (to, to_off), call)
    }
}

/// Waits for the pipe outside of the lock that [`copy_through`] takes: who fills it may need that lock.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn splice(
    from: c_int,
    from_off: *mut off64_t,
    to: c_int,
    to_off: *mut off64_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the program's own request, which moves the offsets on.
    let call = |flags| unsafe {
        let call = || real::splice(from, from_off, to, to_off, len, flags);
        copy_through((from, from_off), (to, to_off), call)
    };
    // SAFETY: whether the program's number is open the kernel says.
    let open = |fd| unsafe { BorrowedFd::borrow_raw(fd) };
    let blocks = flags & libc::SPLICE_F_NONBLOCK == 0
        && from >= 0
        && rustix::fs::fcntl_getfl(open(from)).is_ok_and(|f| !f.contains(OFlags::NONBLOCK));
    if !blocks || !concerned(to).is_some_and(|s| s.has_image(to)) {
        return call(flags);
    }
    loop {
        let mut pipe = libc::pollfd { fd: from, events: libc::POLLIN, revents: 0 };
        // SAFETY: one live entry.
        if unsafe { libc::poll(&raw mut pipe, 1, -1) } < 0 {
            return -1;
        }
        let done = call(flags | libc::SPLICE_F_NONBLOCK);
        if done >= 0 || last_error() != Errno::AGAIN {
            return done;
        }
    }
}
