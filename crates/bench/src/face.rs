//! One map, served by the kernel or by mapback, behind one type.

use crate::Contender;
use core::sync::atomic::{AtomicU8, Ordering};
use mapback::posix::{Config, Mode, Request, Space};
use mapback::{FileStats, TrackerKind};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Who serves the maps of this process. mapback's address space is the process's: make one face in a process.
#[derive(Debug)]
pub enum Face {
    /// The kernel.
    Kernel,
    /// mapback, with the tracker that was asked for.
    Mapback(Box<Space>, TrackerKind),
}

/// A shared, writable map of a whole file.
#[derive(Debug)]
pub struct Map<'f> {
    face: &'f Face,
    addr: usize,
    len: usize,
    page: usize,
}

impl Face {
    /// The face of a contender.
    pub fn of(contender: Contender) -> Face {
        let Contender::Mapback(tracker) = contender else { return Face::Kernel };
        let config = Config { mode: Mode::All, tracker: Some(tracker), ..Config::default() };
        let space = Space::new(config);
        space.begin();
        Face::Mapback(Box::new(space), tracker)
    }

    /// Maps a whole file, shared and writable.
    ///
    /// # Errors
    /// Those of `mmap`; `Unsupported` when mapback leaves the file to the kernel or takes another tracker.
    pub fn map(&self, file: &File) -> io::Result<Map<'_>> {
        let len = file.metadata()?.len() as usize;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let fd = file.as_raw_fd();
        let addr = match self {
            Face::Kernel => {
                // SAFETY: a new map at an address that the kernel chooses.
                let addr = unsafe { libc::mmap(core::ptr::null_mut(), len, prot, libc::MAP_SHARED, fd, 0) };
                if addr == libc::MAP_FAILED {
                    return Err(io::Error::last_os_error());
                }
                addr as usize
            }
            Face::Mapback(space, _) => {
                let request = Request { addr: 0, len, prot, flags: libc::MAP_SHARED, fd, off: 0 };
                // SAFETY: as above.
                unsafe { space.mmap(request) }?
            }
        };
        Ok(Map { face: self, addr, len, page: rustix::param::page_size() })
    }

    /// Whether mapback really serves what is mapped now, with the tracker that was asked for.
    ///
    /// # Errors
    /// `Unsupported`, with the reason.
    pub fn check(&self) -> io::Result<()> {
        let Face::Mapback(space, tracker) = self else { return Ok(()) };
        let unsupported = |text| Err(io::Error::new(io::ErrorKind::Unsupported, text));
        if !space.has_maps() {
            return unsupported(
                "mapback leaves files on this file system to the kernel: choose another --dir".into(),
            );
        }
        match space.stats().pop() {
            Some(stats) if stats.tracker == tracker.name() => Ok(()),
            Some(stats) => {
                unsupported(format!("the tracker {tracker} does not work here, {} was taken", stats.tracker))
            }
            None => unsupported("mapback has no statistics of its map".into()),
        }
    }

    /// What mapback counted so far, over all files; `None` for the kernel.
    pub fn stats(&self) -> Option<FileStats> {
        let Face::Mapback(space, _) = self else { return None };
        let mut sum = FileStats::default();
        for file in space.stats() {
            sum.load_ns += file.load_ns;
            sum.write_back_ns += file.write_back_ns;
            sum.bytes_written += file.bytes_written;
            sum.runs += file.runs;
        }
        Some(sum)
    }
}

impl Map<'_> {
    /// The address.
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// How many pages it has.
    pub fn pages(&self) -> usize {
        self.len.div_ceil(self.page)
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes, which no map has.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn byte(&self, page: usize) -> &AtomicU8 {
        assert!(page < self.pages());
        // SAFETY: a byte of a live readable and writable map, which only atomic accesses of this process touch.
        unsafe { AtomicU8::from_ptr((self.addr + page * self.page) as *mut u8) }
    }

    /// Changes one byte of a page.
    #[inline]
    pub fn store(&self, page: usize) {
        let byte = self.byte(page);
        byte.store(byte.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Reads one byte of each page.
    pub fn read_all(&self) -> u64 {
        (0..self.pages()).map(|page| u64::from(self.byte(page).load(Ordering::Relaxed))).sum()
    }

    /// `msync` of the whole map.
    ///
    /// # Errors
    /// Those of `msync`.
    pub fn sync(&self, flags: i32) -> io::Result<()> {
        self.sync_part(0, self.len, flags)
    }

    /// `msync` of one page.
    ///
    /// # Errors
    /// Those of `msync`.
    pub fn sync_page(&self, page: usize) -> io::Result<()> {
        self.sync_part(page * self.page, self.page, libc::MS_SYNC)
    }

    fn sync_part(&self, off: usize, len: usize, flags: i32) -> io::Result<()> {
        let addr = self.addr + off;
        match self.face {
            // SAFETY: `msync` changes no memory.
            Face::Kernel => match unsafe { libc::msync(addr as *mut libc::c_void, len, flags) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
            Face::Mapback(space, _) => Ok(space.msync(addr, len, flags)?),
        }
    }
}

impl Drop for Map<'_> {
    fn drop(&mut self) {
        let done = match self.face {
            // SAFETY: the map is this value's own, and bytes of it are lent for no longer than it lives.
            Face::Kernel => match unsafe { libc::munmap(self.addr as *mut libc::c_void, self.len) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
            // SAFETY: as above.
            Face::Mapback(space, _) => unsafe { space.munmap(self.addr, self.len) }.map_err(io::Error::from),
        };
        done.expect("unmapping what was mapped");
    }
}
