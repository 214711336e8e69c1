//! Writing through stdio: libc writes a stream's buffer by calls that nobody sees.
//!
//! What it wrote is known all the same: the bytes that waited in the buffer and those that were added, but for what waits
//! afterwards; and they end where the file offset stands. So they are taken over byte by byte, like those of `write`.

use crate::next::next;
use crate::{concerned, existing, forget_fd};
use libc::{FILE, c_int, c_void, size_t};
use mapback::posix::{Change, Kind, Space};
use rustix::fd::BorrowedFd;
use rustix::fs::SeekFrom;

next! {
    fn fflush(file: *mut FILE) -> c_int;
    fn fclose(file: *mut FILE) -> c_int;
    fn fwrite(buf: *const c_void, size: size_t, n: size_t, file: *mut FILE) -> size_t;
    fn fputs(text: *const core::ffi::c_char, file: *mut FILE) -> c_int;
}

unsafe extern "C" {
    fn __fpending(file: *mut FILE) -> size_t;
    fn __fbufsize(file: *mut FILE) -> size_t;
    fn fwide(file: *mut FILE, mode: c_int) -> c_int;
    fn flockfile(file: *mut FILE);
    fn funlockfile(file: *mut FILE);
}

/// A stream, locked for this thread. That has to come first: whoever is inside libc with a stream's lock may wait for
/// locks of ours, and never the other way round.
struct Stream(*mut FILE);

impl Stream {
    /// # Safety
    /// `file` must be a stream, until this is dropped.
    unsafe fn lock(file: *mut FILE) -> Stream {
        // SAFETY: the caller's word.
        unsafe { flockfile(file) };
        Stream(file)
    }

    /// Bytes that wait to be written. `None`: they are counted in other units.
    fn pending(&self) -> Option<u64> {
        // SAFETY: a stream. A mode of 0 only asks.
        let wide = unsafe { fwide(self.0, 0) } > 0;
        // SAFETY: a stream.
        (!wide).then(|| unsafe { __fpending(self.0) } as u64)
    }

    /// Whether it has its buffer: else libc allocates one, which may lead into calls of ours.
    fn has_buffer(&self) -> bool {
        // SAFETY: a stream.
        unsafe { __fbufsize(self.0) > 0 }
    }

    /// Makes a call that may have libc write, and takes over what it wrote. The call says how many bytes it added to the
    /// stream; `None`: it failed.
    fn write<T>(&self, space: &Space, fd: c_int, call: impl FnOnce() -> (T, Option<u64>)) -> T {
        let before = self.pending().filter(|_| self.has_buffer());
        let Some(before) = before else { return unseen(space, fd, || call().0) };
        let mut call = Some(call);
        let mut value = None;
        let made = space.changing(fd, Kind::Writes, || {
            let call = call.take().expect("called once");
            let (done, added) = call();
            value = Some(done);
            let errno = errno();
            let written = added.zip(self.pending()).map(|(new, left)| (before + new).saturating_sub(left));
            let change = written.map_or(Change::Unknown, |n| written_last(fd, n));
            set_errno(errno);
            ((), change)
        });
        if let Err(errno) = made {
            crate::settings::report(&format!("cannot take over what a stream wrote: {errno}"));
        }
        match (value, call) {
            (Some(value), _) => value,
            // A step before the call failed: the program's call is made all the same.
            (None, Some(call)) => call().0,
            (None, None) => unreachable!("the call was made"),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: locked by `lock`.
        unsafe { funlockfile(self.0) };
    }
}

/// Where the last `n` bytes that were written at the file offset are.
fn written_last(fd: c_int, n: u64) -> Change {
    if n == 0 {
        return Change::Nothing;
    }
    // SAFETY: the stream's own descriptor; the kernel says whether it is open.
    let end = rustix::fs::seek(unsafe { BorrowedFd::borrow_raw(fd) }, SeekFrom::Current(0));
    end.map_or(Change::Unknown, |end| Change::Wrote(end.saturating_sub(n)..end))
}

/// A call that writes nobody knows what.
fn unseen<T>(space: &Space, fd: c_int, call: impl FnOnce() -> T) -> T {
    let before = space.before_unseen_write(fd);
    let done = call();
    let before_that = errno();
    if let Err(errno) = before.and_then(|()| space.after_unseen_write(fd)) {
        crate::settings::report(&format!("cannot take over what a stream wrote: {errno}"));
    }
    set_errno(before_that);
    done
}

/// `errno` as it is, 0 included.
fn errno() -> c_int {
    // SAFETY: this thread's own.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fflush(file: *mut FILE) -> c_int {
    // SAFETY: the program's own request.
    let call = || unsafe { real::fflush(file) };
    if file.is_null() || existing().is_none() {
        return call();
    }
    // SAFETY: the program's own stream.
    let fd = unsafe { libc::fileno(file) };
    let Some(space) = concerned(fd) else { return call() };
    // SAFETY: as above.
    let stream = unsafe { Stream::lock(file) };
    stream.write(space, fd, || {
        let done = call();
        (done, (done == 0).then_some(0))
    })
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fclose(file: *mut FILE) -> c_int {
    if !file.is_null() {
        // SAFETY: the program's own stream.
        let fd = unsafe { libc::fileno(file) };
        if concerned(fd).is_some() {
            // SAFETY: as above.
            unsafe { fflush(file) };
        }
        forget_fd(fd);
    }
    // SAFETY: the program's own request.
    let done = unsafe { real::fclose(file) };
    mapback::raw::close_parked();
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fwrite(buf: *const c_void, size: size_t, n: size_t, file: *mut FILE) -> size_t {
    // SAFETY: the program's own stream.
    let space = concerned(unsafe { libc::fileno(file) });
    let (Some(space), Some(total @ 1..)) = (space, size.checked_mul(n)) else {
        // SAFETY: the program's own request.
        return unsafe { real::fwrite(buf, size, n, file) };
    };
    // SAFETY: the program's own stream and bytes.
    unsafe { fwrite_bytes(space, buf, total, file) / size }
}

/// # Safety
/// As `fwrite` with a size of 1.
unsafe fn fwrite_bytes(space: &Space, buf: *const c_void, total: usize, file: *mut FILE) -> usize {
    // SAFETY: the program's own stream.
    let (fd, stream) = unsafe { (libc::fileno(file), Stream::lock(file)) };
    let mut done = 0;
    if !stream.has_buffer() {
        // Goes into the buffer, which it makes libc allocate.
        // SAFETY: there is a byte.
        done = unseen(space, fd, || unsafe { real::fwrite(buf, 1, 1, file) });
    }
    if done == total || (done == 0 && !stream.has_buffer()) {
        return done;
    }
    let rest = stream.write(space, fd, || {
        // SAFETY: the rest of the program's own bytes.
        let rest = unsafe { real::fwrite(buf.byte_add(done), 1, total - done, file) };
        (rest, (rest == total - done).then_some(rest as u64))
    });
    done + rest
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fputs(text: *const core::ffi::c_char, file: *mut FILE) -> c_int {
    // SAFETY: the program's own stream.
    let Some(space) = concerned(unsafe { libc::fileno(file) }) else {
        // SAFETY: the program's own request.
        return unsafe { real::fputs(text, file) };
    };
    // SAFETY: a C string of the program's.
    let len = unsafe { core::ffi::CStr::from_ptr(text) }.count_bytes();
    // SAFETY: as above.
    let done = if len == 0 { 0 } else { unsafe { fwrite_bytes(space, text.cast(), len, file) } };
    if done == len { 1 } else { libc::EOF }
}
