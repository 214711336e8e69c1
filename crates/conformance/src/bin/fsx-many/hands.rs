//! The file as one process holds it: a descriptor, a map of all of it, and the operations.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use mapback_conformance::calls::{self, Errno, count};
use mapback_conformance::map::RW;
use mapback_conformance::{Map, file, page};

use crate::plan::{Flush, MAX_LEN, Op, ReadBy, WriteBy};

/// What a process works with.
pub struct Hands {
    path: PathBuf,
    file: OwnedFd,
    /// Longer than the file at most times, and there through all changes of its size.
    long: Map,
}

impl Hands {
    pub fn new(path: &Path) -> Result<Hands, String> {
        let file = open(path)?;
        let long = long_map(&file)?;
        Ok(Hands { path: path.to_owned(), file, long })
    }

    fn fd(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Does `op`, and compares what it reads with `content`.
    pub fn act(&mut self, op: &Op, content: &[u8]) -> Result<(), String> {
        match op {
            Op::Write { at, bytes, by } => self.write(*at, &bytes.0, *by),
            Op::PunchHole { at, len } => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                // SAFETY: no memory is passed.
                let ret = unsafe { libc::fallocate(self.fd(), mode, *at as i64, *len as i64) };
                if ret == 0 { Ok(()) } else { Err(failed("fallocate")) }
            }
            Op::Copy { from, to, len } => self.copy(*from, *to, *len),
            Op::Read { at, len, by } => self.compare(*at, &content[*at..*at + *len], *by),
            Op::SyncLongMap => sync(&self.long, 0, MAX_LEN, libc::MS_SYNC),
            // SAFETY: no memory is passed.
            Op::Fsync => done("fsync", unsafe { libc::fsync(self.fd()) }),
            // SAFETY: no memory is passed.
            Op::Fdatasync => done("fdatasync", unsafe { libc::fdatasync(self.fd()) }),
            Op::Reopen => {
                self.file = open(&self.path)?;
                Ok(())
            }
            Op::Remap => {
                // The old one goes last: with it would go the image, if nobody else had it mapped.
                self.long = long_map(&self.file)?;
                Ok(())
            }
            Op::DropPages => calls::madvise(self.long.addr(), MAX_LEN, libc::MADV_DONTNEED)
                .map_err(|error| format!("madvise: {error:?}")),
        }
    }

    fn write(&self, at: usize, bytes: &[u8], by: WriteBy) -> Result<(), String> {
        let addr = bytes.as_ptr() as usize;
        let (name, written) = match by {
            WriteBy::Pwrite => ("pwrite", calls::pwrite(self.fd(), addr, bytes.len(), at as i64)),
            WriteBy::Write => {
                self.seek(at)?;
                ("write", calls::write(self.fd(), addr, bytes.len()))
            }
            WriteBy::Pwritev => ("pwritev", self.pwritev(at, bytes)),
            WriteBy::LongMap(flush) => {
                self.long.put(at, bytes);
                return apply(flush, &self.long, at, bytes.len());
            }
            WriteBy::NewMap(flush) => {
                let (map, within) = self.map(at, bytes.len(), libc::MAP_SHARED)?;
                map.put(within, bytes);
                return apply(flush, &map, within, bytes.len());
            }
        };
        exactly(name, written, bytes.len())
    }

    /// Compares the file's bytes from `at` on with `expected`.
    pub fn compare(&self, at: usize, expected: &[u8], by: ReadBy) -> Result<(), String> {
        let mut found = vec![0; expected.len()];
        let (addr, len) = (found.as_mut_ptr() as usize, found.len());
        match by {
            ReadBy::Pread => exactly("pread", calls::pread(self.fd(), addr, len, at as i64), len)?,
            ReadBy::Read => {
                self.seek(at)?;
                exactly("read", calls::read(self.fd(), addr, len), len)?;
            }
            ReadBy::Preadv => exactly("preadv", self.preadv(at, &mut found), len)?,
            ReadBy::LongMap => found = self.long.bytes(at, len),
            ReadBy::NewMap => {
                let (map, within) = self.map(at, len, libc::MAP_SHARED)?;
                found = map.bytes(within, len);
            }
            ReadBy::PrivateMap => {
                let (map, within) = self.map(at, len, libc::MAP_PRIVATE)?;
                found = map.bytes(within, len);
                map.put(within, &vec![0xee; len]);
            }
        }
        same(at, &found, expected).map_err(|why| format!("{by:?}: {why}"))
    }

    /// Compares all there is: the size, the content, and the zeros between the end and the next page in the long map.
    pub fn compare_all(&self, expected: &[u8], by: ReadBy) -> Result<(), String> {
        let len = file_len(&self.file)?;
        if len != expected.len() {
            return Err(format!("the file has {len} bytes, not {}", expected.len()));
        }
        self.compare(0, expected, by)?;
        let tail = len.next_multiple_of(page()) - len;
        same(len, &self.long.bytes(len, tail), &vec![0; tail]).map_err(|why| format!("past the end: {why}"))
    }

    pub fn resize(&self, size: usize) -> Result<(), String> {
        calls::ftruncate(self.fd(), size as i64).map_err(|error| format!("ftruncate: {error:?}"))
    }

    /// Ends the process without unmapping anything.
    pub fn leak(self) {
        self.long.leak();
    }

    /// A map of the pages that hold `[at, at + len)`, and where in it `at` is.
    fn map(&self, at: usize, len: usize, flags: i32) -> Result<(Map, usize), String> {
        let within = at % page();
        Map::new(within + len, RW, flags, self.fd(), (at - within) as i64)
            .map(|map| (map, within))
            .map_err(|error| format!("mmap of {len} bytes at {at}: {error:?}"))
    }

    fn seek(&self, at: usize) -> Result<(), String> {
        // SAFETY: no memory is passed.
        let now = unsafe { libc::lseek(self.fd(), at as i64, libc::SEEK_SET) };
        if now == at as i64 { Ok(()) } else { Err(failed("lseek")) }
    }

    fn pwritev(&self, at: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let (a, b) = bytes.split_at(bytes.len() / 3);
        let parts = [a, b].map(|part| libc::iovec { iov_base: part.as_ptr() as *mut _, iov_len: part.len() });
        // SAFETY: the parts are borrowed for the call, and it only reads them.
        count(unsafe { libc::pwritev(self.fd(), parts.as_ptr(), 2, at as i64) })
    }

    fn preadv(&self, at: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
        let (a, b) = buffer.split_at_mut(buffer.len() / 3);
        let parts =
            [a, b].map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
        // SAFETY: the parts are borrowed mutably for the call.
        count(unsafe { libc::preadv(self.fd(), parts.as_ptr(), 2, at as i64) })
    }

    fn copy(&self, from: usize, to: usize, len: usize) -> Result<(), String> {
        let (mut from, mut to) = (from as i64, to as i64);
        let mut left = len;
        while left > 0 {
            // SAFETY: the two offsets live through the call.
            let ret = unsafe { libc::copy_file_range(self.fd(), &mut from, self.fd(), &mut to, left, 0) };
            match usize::try_from(ret) {
                Ok(0) => return Err(format!("copy_file_range ended {left} bytes early")),
                Ok(copied) => left -= copied,
                Err(_) => return Err(failed("copy_file_range")),
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<OwnedFd, String> {
    file::try_open(path, libc::O_RDWR).map_err(|error| format!("cannot open {}: {error:?}", path.display()))
}

fn long_map(file: &OwnedFd) -> Result<Map, String> {
    Map::new(MAX_LEN, RW, libc::MAP_SHARED, file.as_raw_fd(), 0).map_err(|error| format!("mmap: {error:?}"))
}

fn file_len(file: &OwnedFd) -> Result<usize, String> {
    // SAFETY: no memory is passed.
    let end = unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_END) };
    usize::try_from(end).map_err(|_| failed("lseek"))
}

fn apply(flush: Flush, map: &Map, within: usize, len: usize) -> Result<(), String> {
    match flush {
        Flush::No => Ok(()),
        Flush::Async => sync(map, within, len, libc::MS_ASYNC),
        Flush::Sync => sync(map, within, len, libc::MS_SYNC),
    }
}

fn sync(map: &Map, within: usize, len: usize, flags: i32) -> Result<(), String> {
    let start = within - within % page();
    calls::msync(map.at(start), within + len - start, flags).map_err(|error| format!("msync: {error:?}"))
}

fn same(at: usize, found: &[u8], expected: &[u8]) -> Result<(), String> {
    let differ = |(found, expected): (&u8, &u8)| found != expected;
    let Some(first) = found.iter().zip(expected).position(differ) else { return Ok(()) };
    let others = found.iter().zip(expected).filter(|pair| differ(*pair)).count();
    Err(format!(
        "byte {} is {:#04x}, not {:#04x}; {others} of {} bytes from {at} on differ",
        at + first,
        found[first],
        expected[first],
        expected.len()
    ))
}

fn exactly(name: &str, result: Result<usize, Errno>, len: usize) -> Result<(), String> {
    match result {
        Ok(n) if n == len => Ok(()),
        Ok(n) => Err(format!("{name}: {n} bytes of {len}")),
        Err(error) => Err(format!("{name}: {error:?}")),
    }
}

fn done(name: &str, ret: i32) -> Result<(), String> {
    if ret == 0 { Ok(()) } else { Err(failed(name)) }
}

fn failed(name: &str) -> String {
    format!("{name}: {:?}", Errno::last())
}
