//! A map under test.

use crate::calls::{self, Errno};
use crate::file::TestFile;
use crate::probe::{self, Fault};

/// Reading and writing.
pub const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// A range of addresses that `mmap` returned; unmapped when dropped.
#[derive(Debug)]
pub struct Map {
    addr: usize,
    len: usize,
}

impl Map {
    /// `mmap(NULL, len, prot, flags, fd, off)`
    pub fn new(len: usize, prot: i32, flags: i32, fd: i32, off: i64) -> Result<Map, Errno> {
        calls::mmap(0, len, prot, flags, fd, off).map(|addr| Map { addr, len })
    }

    /// A readable and writable shared map of the first `len` bytes of `file`.
    #[track_caller]
    pub fn shared(file: &TestFile, len: usize) -> Map {
        Map::new(len, RW, libc::MAP_SHARED, file.fd(), 0).expect("a shared map of the test's file")
    }

    /// A readable and writable private map of the first `len` bytes of `file`.
    #[track_caller]
    pub fn private(file: &TestFile, len: usize) -> Map {
        Map::new(len, RW, libc::MAP_PRIVATE, file.fd(), 0).expect("a private map of the test's file")
    }

    /// Private anonymous memory.
    #[track_caller]
    pub fn anonymous(len: usize, prot: i32) -> Map {
        Map::new(len, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0).expect("anonymous memory")
    }

    /// A range that is mapped already, from now on unmapped by the value's end.
    pub fn adopt(addr: usize, len: usize) -> Map {
        Map { addr, len }
    }

    /// Where the map begins.
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// How long it is, as asked for.
    #[allow(clippy::len_without_is_empty)] // a map is never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address of byte `offset`.
    pub fn at(&self, offset: usize) -> usize {
        self.addr + offset
    }

    /// Loads the byte at `offset`; the test dies if that faults.
    pub fn get(&self, offset: usize) -> u8 {
        get(self.at(offset))
    }

    /// Stores `value` at `offset`; the test dies if that faults.
    pub fn set(&self, offset: usize, value: u8) {
        set(self.at(offset), value);
    }

    /// Loads `len` bytes at `offset`.
    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        (offset..offset + len).map(|at| self.get(at)).collect()
    }

    /// Stores `bytes` at `offset`.
    pub fn put(&self, offset: usize, bytes: &[u8]) {
        for (i, &byte) in bytes.iter().enumerate() {
            self.set(offset + i, byte);
        }
    }

    /// Loads the byte at `offset`, or says how that faulted.
    pub fn load(&self, offset: usize) -> Result<u8, Fault> {
        probe::load(self.at(offset))
    }

    /// Stores `value` at `offset`, or says how that faulted.
    pub fn store(&self, offset: usize, value: u8) -> Result<(), Fault> {
        probe::store(self.at(offset), value)
    }

    /// `msync(MS_SYNC)` of the whole map; panics if it fails.
    #[track_caller]
    pub fn sync(&self) {
        calls::msync(self.addr, self.len, libc::MS_SYNC).expect("msync");
    }

    /// `mprotect` of `len` bytes at `offset`
    pub fn protect(&self, offset: usize, len: usize, prot: i32) -> Result<(), Errno> {
        calls::mprotect(self.at(offset), len, prot)
    }

    /// `munmap` of the whole map; panics if it fails.
    #[track_caller]
    pub fn unmap(self) {
        let (addr, len) = self.leak();
        calls::munmap(addr, len).expect("munmap");
    }

    /// Leaves the range mapped.
    pub fn leak(self) -> (usize, usize) {
        let range = (self.addr, self.len);
        std::mem::forget(self);
        range
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // A test that has failed already must not panic again; one that cares calls `unmap`.
        let _ = calls::munmap(self.addr, self.len);
    }
}

/// Loads the byte at `addr`, which the test knows to be mapped and readable.
pub fn get(addr: usize) -> u8 {
    // SAFETY: the test has mapped the address; a volatile load of a byte needs no more than that, and where the test is
    // wrong the process dies.
    unsafe { (addr as *const u8).read_volatile() }
}

/// Stores `value` at `addr`, which the test knows to be mapped and writable.
pub fn set(addr: usize, value: u8) {
    // SAFETY: as for `get`; no Rust reference points into a map.
    unsafe { (addr as *mut u8).write_volatile(value) }
}
