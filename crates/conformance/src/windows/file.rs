//! The files that the tests map, on Windows: as on other systems, by descriptors of the C run-time library.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::windows::fs::FileExt;
use std::os::windows::io::IntoRawHandle;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::calls::{Errno, page};
use crate::process;

/// The byte that a fresh [`TestFile`] holds at `offset`: never zero, and other on each page.
pub fn pattern(offset: usize) -> u8 {
    ((offset + offset / page() * 3) % 251) as u8 + 1
}

/// As `std::os::fd::AsRawFd`.
pub trait AsRawFd {
    /// The descriptor.
    fn as_raw_fd(&self) -> i32;
}

/// A descriptor, closed when dropped.
#[derive(Debug)]
pub struct OwnedFd(i32);

impl AsRawFd for OwnedFd {
    fn as_raw_fd(&self) -> i32 {
        self.0
    }
}

impl Drop for OwnedFd {
    fn drop(&mut self) {
        // SAFETY: closes the descriptor, which is this value's own.
        unsafe { libc::close(self.0) };
    }
}

/// A file in the test's own directory.
pub struct TestFile {
    path: PathBuf,
    file: File,
    fd: OwnedFd,
}

/// The handles behind the descriptors of test files, for [`pread`] and [`pwrite`].
static HANDLES: Mutex<Vec<(i32, File)>> = Mutex::new(Vec::new());

impl TestFile {
    /// A new file of `len` bytes of [`pattern`], open for reading and writing.
    pub fn new(len: usize) -> TestFile {
        let content: Vec<u8> = (0..len).map(pattern).collect();
        TestFile::with(&content)
    }

    /// A new file of `content`.
    pub fn with(content: &[u8]) -> TestFile {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("file-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        TestFile::at(&process::scratch().join(name), content)
    }

    /// A new file of `content` at `path`.
    pub fn at(path: &Path, content: &[u8]) -> TestFile {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .unwrap_or_else(|error| panic!("creating {}: {error}", path.display()));
        file.write_all(content).unwrap_or_else(|error| panic!("filling {}: {error}", path.display()));
        let fd = open(path, libc::O_RDWR);
        let again = file.try_clone().expect("a second handle");
        let mut handles = HANDLES.lock().expect("no test panics here");
        handles.retain(|(number, _)| *number != fd.0);
        handles.push((fd.0, again));
        TestFile { path: path.to_owned(), file, fd }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor, open for reading and writing.
    pub fn fd(&self) -> i32 {
        self.fd.0
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Opens the file once more, with `flags` of open(2).
    pub fn open(&self, flags: i32) -> OwnedFd {
        open(&self.path, flags)
    }

    /// The file's size.
    pub fn len(&self) -> usize {
        self.file.metadata().expect("the test's file").len() as usize
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the file holds in `[offset, offset + len)`: only what has been written back counts.
    pub fn stored(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut found = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match self.file.seek_read(&mut found[filled..], (offset + filled) as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) => panic!("reading {}: {error}", self.path.display()),
            }
        }
        found.truncate(filled);
        found
    }

    /// The byte that the file holds at `offset`.
    #[track_caller]
    pub fn stored_byte(&self, offset: usize) -> u8 {
        *self.stored(offset, 1).first().unwrap_or_else(|| panic!("the file ends before byte {offset}"))
    }

    /// Everything that the file holds.
    pub fn stored_all(&self) -> Vec<u8> {
        self.stored(0, self.len())
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        if let Ok(mut handles) = HANDLES.lock() {
            handles.retain(|(number, _)| *number != self.fd.0);
        }
    }
}

fn by_handle<T>(fd: i32, act: impl FnOnce(&File) -> std::io::Result<T>) -> Result<T, Errno> {
    let handles = HANDLES.lock().expect("no test panics here");
    let (_, file) = handles.iter().find(|(number, _)| *number == fd).expect("a test file's descriptor");
    act(file).map_err(|_| Errno(libc::EIO))
}

/// Reads a test file's bytes by another handle than the descriptor's.
pub fn pread(fd: i32, buffer: &mut [u8], off: i64) -> Result<usize, Errno> {
    by_handle(fd, |file| file.seek_read(buffer, off as u64))
}

/// Writes a test file's bytes by another handle than the descriptor's, as another program would.
pub fn pwrite(fd: i32, buffer: &[u8], off: i64) -> Result<usize, Errno> {
    by_handle(fd, |file| file.seek_write(buffer, off as u64))
}

/// `open(2)`
pub fn open(path: &Path, flags: i32) -> OwnedFd {
    try_open(path, flags).unwrap_or_else(|error| panic!("opening {}: {error:?}", path.display()))
}

/// `open(2)`, with its error. The file can be renamed and deleted while it is open.
pub fn try_open(path: &Path, flags: i32) -> Result<OwnedFd, Errno> {
    let access = flags & 3;
    let file = OpenOptions::new()
        .read(access != libc::O_WRONLY)
        .write(access != libc::O_RDONLY)
        .append(flags & libc::O_APPEND != 0)
        .truncate(flags & libc::O_TRUNC != 0)
        .open(path)
        .map_err(|error| {
            Errno(if error.kind() == std::io::ErrorKind::NotFound { libc::ENOENT } else { libc::EACCES })
        })?;
    let fd = libc::open_handle(file.into_raw_handle() as isize);
    if fd < 0 { Err(Errno::last()) } else { Ok(OwnedFd(fd)) }
}
