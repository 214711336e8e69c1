//! Ways of reading, writing, resizing and flushing a file, each with a descriptor of its own.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{O_RDONLY, O_RDWR, O_WRONLY, iovec};

use super::answers::done;
use super::{Answer, FlushBy, ReadBy, ResizeBy, TimesBy, WriteBy};
use crate::calls::{self, Errno, count, kernel};
use crate::file::try_open;
use crate::map;

type Count = Result<usize, Errno>;

fn name(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL")
}

/// A descriptor whose offset is `off`.
fn open_at(path: &Path, flags: i32, off: usize) -> Result<OwnedFd, Errno> {
    let file = try_open(path, flags)?;
    // SAFETY: no memory is passed.
    unsafe { libc::lseek(file.as_raw_fd(), off as i64, libc::SEEK_SET) };
    Ok(file)
}

/// The buffer in two parts, of which the first has a third.
fn halves(buffer: &mut [u8]) -> [iovec; 2] {
    let (front, back) = buffer.split_at_mut(buffer.len() / 3);
    [front, back].map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() })
}

pub(super) fn read(by: ReadBy, path: &Path, off: usize, len: usize) -> Answer {
    let mut buffer = vec![0; len];
    let filled = read_into(by, path, off, &mut buffer);
    answer(filled, buffer)
}

fn answer(filled: Count, mut buffer: Vec<u8>) -> Answer {
    match filled {
        Ok(filled) => {
            buffer.truncate(filled);
            Answer::Bytes(buffer)
        }
        Err(Errno(error)) => Answer::Errno(error),
    }
}

pub(super) fn pread(fd: i32, off: usize, len: usize) -> Answer {
    let mut buffer = vec![0; len];
    let filled = calls::pread(fd, buffer.as_mut_ptr() as usize, len, off as i64);
    answer(filled, buffer)
}

fn read_into(by: ReadBy, path: &Path, off: usize, buffer: &mut [u8]) -> Count {
    let file = open_at(path, O_RDONLY, off)?;
    let (fd, len, at) = (file.as_raw_fd(), buffer.len(), off as i64);
    let parts = halves(buffer);
    let into = buffer.as_mut_ptr();
    // SAFETY: the parts are the buffer's, which lives through each call.
    unsafe {
        match by {
            ReadBy::Read => calls::read(fd, into as usize, len),
            ReadBy::Pread => calls::pread(fd, into as usize, len, at),
            ReadBy::Readv => count(libc::readv(fd, parts.as_ptr(), 2)),
            ReadBy::Preadv => count(libc::preadv(fd, parts.as_ptr(), 2, at)),
            ReadBy::Preadv2 => count(libc::preadv2(fd, parts.as_ptr(), 2, at, 0)),
            ReadBy::Fread => fread(path, off, buffer),
            ReadBy::PrivateMap => private_map(fd, off, buffer),
            ReadBy::Sendfile => {
                let target = temporary(b"");
                let mut from = at;
                let sent = count(libc::sendfile(target.as_raw_fd(), fd, &mut from, len));
                sent.and_then(|sent| kernel::pread(target.as_raw_fd(), &mut buffer[..sent], 0))
            }
            ReadBy::CopyFileRange => {
                let target = temporary_beside(path)?;
                let mut from = at;
                let null = std::ptr::null_mut();
                let copied = count(libc::copy_file_range(fd, &mut from, target.as_raw_fd(), null, len, 0));
                copied.and_then(|copied| kernel::pread(target.as_raw_fd(), &mut buffer[..copied], 0))
            }
            ReadBy::Splice => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                let mut from = at;
                let null = std::ptr::null_mut();
                let moved = count(libc::splice(fd, &mut from, writer.as_raw_fd(), null, len, 0));
                moved.and_then(|moved| calls::read(reader.as_raw_fd(), into as usize, moved))
            }
        }
    }
}

fn fread(path: &Path, off: usize, buffer: &mut [u8]) -> Count {
    // SAFETY: the stream is closed at the end, and the buffer is as long as said.
    unsafe {
        let stream = libc::fopen(name(path).as_ptr(), c"r".as_ptr());
        if stream.is_null() {
            return Err(Errno::last());
        }
        libc::fseek(stream, off as i64, libc::SEEK_SET);
        let filled = libc::fread(buffer.as_mut_ptr().cast(), 1, buffer.len(), stream);
        libc::fclose(stream);
        Ok(filled)
    }
}

/// Reads all of the file up to the buffer's end through a map.
fn private_map(fd: i32, off: usize, buffer: &mut [u8]) -> Count {
    let len = off + buffer.len();
    let addr = calls::mmap(0, len, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0)?;
    buffer.iter_mut().zip(addr + off..).for_each(|(byte, at)| *byte = map::get(at));
    calls::munmap(addr, len)?;
    Ok(buffer.len())
}

/// A file that nobody maps, with this content.
fn temporary(content: &[u8]) -> OwnedFd {
    // SAFETY: the name ends in NUL.
    let fd = unsafe { libc::memfd_create(c"actor".as_ptr(), 0) };
    assert!(fd >= 0, "memfd_create: {:?}", Errno::last());
    // SAFETY: the descriptor was made just now.
    let file = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    assert_eq!(kernel::pwrite(fd, content, 0), Ok(content.len()));
    file
}

/// A file without a name on the same file system, since not every file system copies to others.
fn temporary_beside(path: &Path) -> Result<OwnedFd, Errno> {
    let beside = path.with_extension(format!("copy-{}", std::process::id()));
    let file = try_open(&beside, O_RDWR | libc::O_CREAT | libc::O_EXCL)?;
    let _ = std::fs::remove_file(&beside);
    Ok(file)
}

pub(super) fn write(by: WriteBy, path: &Path, off: usize, bytes: &[u8]) -> Count {
    let flags = if by == WriteBy::Append { O_WRONLY | libc::O_APPEND } else { O_WRONLY };
    let file = open_at(path, flags, off)?;
    let mut buffer = bytes.to_vec();
    let (fd, len, at) = (file.as_raw_fd(), bytes.len(), off as i64);
    let parts = halves(&mut buffer);
    let null = std::ptr::null_mut();
    // SAFETY: the parts are the buffer's, which lives through each call.
    unsafe {
        match by {
            WriteBy::Write | WriteBy::Append => calls::write(fd, bytes.as_ptr() as usize, len),
            WriteBy::Pwrite => calls::pwrite(fd, bytes.as_ptr() as usize, len, at),
            WriteBy::Writev => count(libc::writev(fd, parts.as_ptr(), 2)),
            WriteBy::Pwritev => count(libc::pwritev(fd, parts.as_ptr(), 2, at)),
            WriteBy::Pwritev2 => count(libc::pwritev2(fd, parts.as_ptr(), 2, at, 0)),
            WriteBy::Fwrite => stdio(path, off, bytes, fwrite),
            WriteBy::Fprintf => stdio(path, off, bytes, fprintf),
            WriteBy::Sendfile => {
                let source = temporary(bytes);
                let mut from = 0;
                count(libc::sendfile(fd, source.as_raw_fd(), &mut from, len))
            }
            WriteBy::CopyFileRange => {
                let source = temporary_beside(path)?;
                kernel::pwrite(source.as_raw_fd(), bytes, 0)?;
                let (mut from, mut to) = (0, at);
                count(libc::copy_file_range(source.as_raw_fd(), &mut from, fd, &mut to, len, 0))
            }
            WriteBy::Splice => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                calls::write(writer.as_raw_fd(), bytes.as_ptr() as usize, len)?;
                let mut to = at;
                count(libc::splice(reader.as_raw_fd(), null, fd, &mut to, len, 0))
            }
        }
    }
}

fn fwrite(stream: *mut libc::FILE, bytes: &[u8]) -> usize {
    // SAFETY: the stream is open, and the bytes are as many as said.
    unsafe { libc::fwrite(bytes.as_ptr().cast(), 1, bytes.len(), stream) }
}

fn fprintf(stream: *mut libc::FILE, bytes: &[u8]) -> usize {
    let text = CString::new(bytes).expect("bytes to print have no NUL");
    // SAFETY: the stream is open, and the text ends in NUL.
    unsafe { libc::fprintf(stream, c"%s".as_ptr(), text.as_ptr()) as usize }
}

fn stdio(path: &Path, off: usize, bytes: &[u8], put: fn(*mut libc::FILE, &[u8]) -> usize) -> Count {
    // SAFETY: the stream is closed at the end, which also writes what it has buffered.
    unsafe {
        let stream = libc::fopen(name(path).as_ptr(), c"r+".as_ptr());
        if stream.is_null() {
            return Err(Errno::last());
        }
        libc::fseek(stream, off as i64, libc::SEEK_SET);
        let written = put(stream, bytes);
        done(libc::fclose(stream)).map(|_| written)
    }
}

pub(super) fn resize(by: ResizeBy, path: &Path, len: usize) -> Result<i32, Errno> {
    let file = try_open(path, O_RDWR)?;
    let (fd, size) = (file.as_raw_fd(), len as i64);
    // SAFETY: no memory is passed but names that end in NUL.
    unsafe {
        match by {
            ResizeBy::Ftruncate => done(libc::ftruncate(fd, size)),
            ResizeBy::Truncate => done(libc::truncate(name(path).as_ptr(), size)),
            ResizeBy::Fallocate => done(libc::fallocate(fd, 0, 0, size)),
            ResizeBy::PunchHole => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                done(libc::fallocate(fd, mode, 0, size))
            }
            ResizeBy::PosixFallocate => match libc::posix_fallocate(fd, 0, size) {
                0 => Ok(0),
                error => Err(Errno(error)),
            },
            ResizeBy::OpenTruncating => try_open(path, O_WRONLY | libc::O_TRUNC).map(|_| 0),
            ResizeBy::Creat => {
                let fd = done(libc::creat(name(path).as_ptr(), 0o600))?;
                done(libc::close(fd))
            }
        }
    }
}

pub(super) fn flush(by: FlushBy, path: &Path) -> Result<i32, Errno> {
    let file = try_open(path, O_RDWR)?;
    let fd = file.as_raw_fd();
    let wait =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: no memory is passed.
    unsafe {
        match by {
            FlushBy::Fsync => done(libc::fsync(fd)),
            FlushBy::Fdatasync => done(libc::fdatasync(fd)),
            FlushBy::SyncFileRange => done(libc::sync_file_range(fd, 0, 0, wait)),
            FlushBy::Syncfs => done(libc::syncfs(fd)),
            FlushBy::Sync => {
                libc::sync();
                Ok(0)
            }
        }
    }
}

pub(super) fn set_times(by: TimesBy, path: &Path, seconds: i64) -> Result<i32, Errno> {
    unsafe extern "C" {
        fn futimesat(dir: i32, path: *const libc::c_char, times: *const libc::timeval) -> i32;
    }
    let file = try_open(path, O_RDWR)?;
    let name = name(path);
    let precise = [libc::timespec { tv_sec: seconds, tv_nsec: 0 }; 2];
    let times = [libc::timeval { tv_sec: seconds, tv_usec: 0 }; 2];
    let rough = libc::utimbuf { actime: seconds, modtime: seconds };
    let (fd, name, here) = (file.as_raw_fd(), name.as_ptr(), libc::AT_FDCWD);
    // SAFETY: the name ends in NUL, and each of the times lives through the call.
    unsafe {
        match by {
            TimesBy::Futimens => done(libc::futimens(fd, precise.as_ptr())),
            TimesBy::Utimensat => done(libc::utimensat(here, name, precise.as_ptr(), 0)),
            TimesBy::Utimes => done(libc::utimes(name, times.as_ptr())),
            TimesBy::Futimes => done(libc::futimes(fd, times.as_ptr())),
            TimesBy::Lutimes => done(libc::lutimes(name, times.as_ptr())),
            TimesBy::Futimesat => done(futimesat(here, name, times.as_ptr())),
            TimesBy::Utime => done(libc::utime(name, &rough)),
        }
    }
}
