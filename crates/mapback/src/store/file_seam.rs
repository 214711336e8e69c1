//! The local file, seen through the public seam.

use super::Run;
use super::file::FileStore;
use super::seam::{Identity, Stat, Store, Write};
use crate::sys::Errno;
use crate::sys::os::fd::{self, AsFd};
use crate::sys::os::file::{self, with_file_size};
use core::ops::Range;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use twox_hash::XxHash3_64;

impl FileStore {
    /// The file behind an open descriptor (on Windows, a handle), with the access that it has.
    ///
    /// # Errors
    /// `EBADF`, `EMFILE`; `ENODEV` for what is not a regular file; `EACCES` for a descriptor that may not be read from,
    /// and where the file cannot be opened anew and is served by FUSE with `O_APPEND`.
    pub fn from_fd(fd: impl AsFd) -> io::Result<FileStore> {
        let fd = fd::of(&fd);
        #[cfg(target_os = "linux")]
        super::close_parked();
        if !file::facts(fd)?.regular {
            return Err(Errno::NODEV.into());
        }
        let access = file::access(fd)?;
        if !access.read {
            return Err(Errno::ACCESS.into());
        }
        Ok(FileStore::open(fd, access.write)?)
    }

    /// Opens a file to be read.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn read_only(path: impl AsRef<Path>) -> io::Result<FileStore> {
        FileStore::from_fd(File::open(path)?)
    }

    /// Opens a file to be read and written.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn read_write(path: impl AsRef<Path>) -> io::Result<FileStore> {
        FileStore::from_fd(OpenOptions::new().read(true).write(true).open(path)?)
    }

    /// Whether [`Store::write`] can work: the descriptor could write.
    pub fn may_write(&self) -> bool {
        self.is_writable()
    }
}

impl Store for FileStore {
    fn identity(&self) -> io::Result<Identity> {
        let id = file::identity(self.fd())?;
        let mut bytes = id.lasting();
        let lasting = XxHash3_64::oneshot(&bytes);
        bytes.extend(id.passing());
        let low = XxHash3_64::oneshot_with_seed(1, &bytes);
        // The upper half is never 0: keys below 2^64 are those of stores in memory.
        let key = (u128::from(XxHash3_64::oneshot_with_seed(2, &bytes) | 1) << 64) | u128::from(low);
        Ok(Identity { key, lasting, name: file::name(self.fd()) })
    }

    fn stat(&self) -> io::Result<Stat> {
        let (len, version) = file::len_and_mtime(self.fd())?;
        Ok(Stat { len, version })
    }

    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize> {
        // SAFETY: a mutable slice is writable for its length.
        Ok(unsafe { self.read_raw(buf.as_mut_ptr(), buf.len(), off) }?)
    }

    fn write(&self, batch: &mut [Write<'_>]) {
        let run = |w: &Write<'_>| Run {
            from: w.bytes.as_ptr(),
            len: w.bytes.len(),
            off: w.off,
            done: 0,
            error: None,
        };
        let mut runs: Vec<Run> = batch.iter().map(run).collect();
        let end = batch.iter().map(|w| w.off + w.bytes.len() as u64).max().unwrap_or(0);
        let lifted = with_file_size(end, || {
            // SAFETY: each run is a slice.
            unsafe { self.write_many(None, &mut runs) };
            Ok(())
        });
        for (write, run) in batch.iter_mut().zip(runs) {
            write.done = run.done;
            write.error = lifted.err().or(run.error).map(io::Error::from);
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(FileStore::sync(self)?)
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        Ok(with_file_size(len, || self.set_len(len))?)
    }

    fn data(&self, range: Range<u64>) -> Option<Range<u64>> {
        FileStore::data(self, range.start, range.end)
    }
}
