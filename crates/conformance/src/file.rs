//! The files that the tests map.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::calls::{Errno, kernel, page};
use crate::process;

/// The byte that a fresh [`TestFile`] holds at `offset`: never zero, and other on each page.
pub fn pattern(offset: usize) -> u8 {
    ((offset + offset / page() * 3) % 251) as u8 + 1
}

/// A file in the test's own directory.
pub struct TestFile {
    path: PathBuf,
    file: File,
}

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
        TestFile { path: path.to_owned(), file }
    }

    /// A sparse file of `len` bytes.
    pub fn sparse(len: u64) -> TestFile {
        let made = TestFile::with(b"");
        made.file.set_len(len).unwrap_or_else(|error| panic!("growing {}: {error}", made.path.display()));
        made
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor, open for reading and writing.
    pub fn fd(&self) -> i32 {
        self.file.as_raw_fd()
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
        self.file.metadata().expect("fstat of the test's file").len() as usize
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the file holds in `[offset, offset + len)`, read past any interposer: only what has been written back counts.
    pub fn stored(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut found = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match kernel::pread(self.fd(), &mut found[filled..], (offset + filled) as i64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(Errno(libc::EINTR)) => {}
                Err(error) => panic!("reading {}: {error:?}", self.path.display()),
            }
        }
        found.truncate(filled);
        found
    }

    /// The byte that the file holds at `offset`, read past any interposer.
    #[track_caller]
    pub fn stored_byte(&self, offset: usize) -> u8 {
        *self.stored(offset, 1).first().unwrap_or_else(|| panic!("the file ends before byte {offset}"))
    }

    /// Everything that the file holds, read past any interposer.
    pub fn stored_all(&self) -> Vec<u8> {
        self.stored(0, self.len())
    }
}

/// `open(2)`
pub fn open(path: &Path, flags: i32) -> OwnedFd {
    try_open(path, flags).unwrap_or_else(|error| panic!("opening {}: {error:?}", path.display()))
}

/// `open(2)`, with its error.
pub fn try_open(path: &Path, flags: i32) -> Result<OwnedFd, Errno> {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL");
    // SAFETY: the name ends in NUL and lives through the call.
    let fd = unsafe { libc::open(name.as_ptr(), flags, 0o600) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: open returned this descriptor just now; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
