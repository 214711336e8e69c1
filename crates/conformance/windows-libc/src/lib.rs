//! The names of the libc crate that the conformance tests use, on Windows.
//!
//! There the tests depend on this package by the name `libc` (`extern crate … as libc`), so that their text is the same on all systems. The
//! `mmap` family is mapback's, by its exported symbols; descriptors and `errno` are the C run-time library's.
#![cfg(windows)]
#![allow(missing_docs, non_camel_case_types, clippy::missing_safety_doc)]

pub use core::ffi::{c_char, c_int, c_void};
pub use mapback_c::windows::{mmap, mmap as mmap64, mprotect, munmap};

pub const MAP_FAILED: *mut c_void = usize::MAX as *mut c_void;

macro_rules! numbers {
    ($($name:ident = $value:expr;)+) => { $(pub const $name: c_int = $value;)+ };
}

numbers! {
    PROT_NONE = 0;
    PROT_READ = 1;
    PROT_WRITE = 2;
    PROT_EXEC = 4;
    MAP_SHARED = 1;
    MAP_PRIVATE = 2;
    MAP_SHARED_VALIDATE = 3;
    MAP_FIXED = 0x10;
    MAP_ANONYMOUS = 0x20;
    MAP_NORESERVE = 0x4000;
    MAP_POPULATE = 0x8000;
    MAP_FIXED_NOREPLACE = 0x10_0000;
    MS_ASYNC = 1;
    MS_INVALIDATE = 2;
    MS_SYNC = 4;
    EPERM = 1;
    ENOENT = 2;
    EINTR = 4;
    EIO = 5;
    EBADF = 9;
    ENOMEM = 12;
    EACCES = 13;
    EBUSY = 16;
    EEXIST = 17;
    ENODEV = 19;
    EINVAL = 22;
    ENOSPC = 28;
    ENOTSUP = 129;
    EOVERFLOW = 132;
    O_RDONLY = 0;
    O_WRONLY = 1;
    O_RDWR = 2;
    O_APPEND = 8;
    O_CREAT = 0x100;
    O_TRUNC = 0x200;
    SEEK_SET = 0;
    SEEK_CUR = 1;
    SEEK_END = 2;
    SIGBUS = 7;
    BUS_ADRERR = 2;
    SIGSEGV = 11;
}

unsafe extern "C" {
    #[link_name = "_close"]
    pub fn close(fd: c_int) -> c_int;
    fn _dup2(from: c_int, to: c_int) -> c_int;
    #[link_name = "_exit"]
    pub fn _exit(code: c_int) -> !;
    #[link_name = "exit"]
    pub fn exit(code: c_int) -> !;
    #[link_name = "_lseeki64"]
    pub fn lseek(fd: c_int, to: i64, whence: c_int) -> i64;
    fn _errno() -> *mut c_int;
    fn _open_osfhandle(handle: isize, flags: c_int) -> c_int;
    fn _chsize_s(fd: c_int, len: i64) -> c_int;
    fn _read(fd: c_int, to: *mut c_void, len: u32) -> c_int;
    fn _write(fd: c_int, from: *const c_void, len: u32) -> c_int;
}

/// The C run-time library's errno of this thread.
pub fn errno() -> c_int {
    // SAFETY: a word of this thread's own.
    unsafe { *_errno() }
}

/// A descriptor for a handle, which belongs to it from now on.
pub fn open_handle(handle: isize) -> c_int {
    const O_BINARY: c_int = 0x8000;
    // SAFETY: a handle that its owner has given up.
    unsafe { _open_osfhandle(handle, O_BINARY) }
}

pub unsafe fn msync(addr: *mut c_void, len: usize, flags: c_int) -> c_int {
    mapback_c::windows::msync(addr, len, flags)
}

pub unsafe fn mlock(addr: *const c_void, len: usize) -> c_int {
    mapback_c::windows::mlock(addr, len)
}

pub unsafe fn munlock(addr: *const c_void, len: usize) -> c_int {
    mapback_c::windows::munlock(addr, len)
}

pub unsafe fn dup2(from: c_int, to: c_int) -> c_int {
    // SAFETY: takes numbers. It returns 0 for success.
    if unsafe { _dup2(from, to) } == 0 { to } else { -1 }
}

pub unsafe fn ftruncate(fd: c_int, len: i64) -> c_int {
    // SAFETY: takes numbers.
    if unsafe { _chsize_s(fd, len) } == 0 { 0 } else { -1 }
}

pub unsafe fn read(fd: c_int, to: *mut c_void, len: usize) -> isize {
    // SAFETY: passed on.
    unsafe { _read(fd, to, len as u32) as isize }
}

pub unsafe fn write(fd: c_int, from: *const c_void, len: usize) -> isize {
    // SAFETY: passed on.
    unsafe { _write(fd, from, len as u32) as isize }
}
