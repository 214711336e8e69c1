//! Contents and attributes of files, and the entries of directories.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Mutex, PoisonError};

use fuser::{FileAttr, FileHandle, INodeNo, ReplyData, ReplyDirectory, TimeOrNow};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, SeekFrom, Timestamps, Uid};
use rustix::io::Errno;

use super::{Passthrough, attr, errno, fd_path};

/// An open directory: its entries as they were when it was last read from the start.
#[derive(Default)]
pub(super) struct Directory(Mutex<Vec<Entry>>);

struct Entry {
    node: u64,
    kind: fuser::FileType,
    name: OsString,
}

/// What `setattr` may change.
pub(super) struct Change {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<TimeOrNow>,
    pub mtime: Option<TimeOrNow>,
    pub handle: Option<FileHandle>,
}

/// The flags to open the underlying file with.
///
/// Without `O_APPEND`: the kernel passes the offset to append at, and a `RWF_NOAPPEND` write must not be
/// moved to the end. Without `O_DIRECT`: buffers here are not aligned, and nothing is cached above us anyway.
pub(super) fn underlying_flags(flags: i32) -> OFlags {
    let drop = OFlags::APPEND | OFlags::DIRECT | OFlags::NOFOLLOW | OFlags::NOCTTY;
    (OFlags::from_bits_retain(flags.cast_unsigned()) - drop) | OFlags::CLOEXEC
}

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Passthrough {
    pub(super) fn attributes(&self, node: u64) -> Result<FileAttr, Errno> {
        Ok(attr::attr(node, &rustix::fs::fstat(&*self.inodes.get(node)?)?))
    }

    pub(super) fn change(&self, node: u64, change: &Change) -> Result<FileAttr, Errno> {
        let file = self.inodes.get(node)?;
        if let Some(mode) = change.mode {
            rustix::fs::chmodat(CWD, fd_path(&*file), Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            let (uid, gid) = (change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw));
            rustix::fs::chownat(&*file, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(size) = change.size {
            self.resize(&file, size, change.handle)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let last_access = attr::timespec(change.atime);
            let last_modification = attr::timespec(change.mtime);
            let times = Timestamps { last_access, last_modification };
            rustix::fs::utimensat(CWD, fd_path(&*file), &times, AtFlags::empty())?;
        }
        self.attributes(node)
    }

    /// Through the caller's own descriptor where there is one: the file may forbid a second open for writing.
    fn resize(&self, file: &OwnedFd, size: u64, handle: Option<FileHandle>) -> Result<(), Errno> {
        match handle {
            Some(handle) => rustix::fs::ftruncate(&*self.files.get(handle)?, size),
            None => {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                rustix::fs::ftruncate(rustix::fs::open(fd_path(file), flags, Mode::empty())?, size)
            }
        }
    }

    pub(super) fn open_file(&self, node: u64, flags: i32) -> Result<FileHandle, Errno> {
        let path_fd = self.inodes.get(node)?;
        let file = rustix::fs::open(fd_path(&*path_fd), underlying_flags(flags), Mode::empty())?;
        Ok(self.files.add(file))
    }

    pub(super) fn read_file(&self, handle: FileHandle, offset: u64, size: u32, reply: ReplyData) {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.fill(handle, offset, &mut buffer[..size]) {
                Ok(filled) => reply.data(&buffer[..filled]),
                Err(error) => reply.error(errno(error)),
            }
        });
    }

    /// Reads until the buffer is full or the file ends: a short reply means end of file to the kernel.
    fn fill(&self, handle: FileHandle, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let file = self.files.get(handle)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::pread(&*file, &mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    pub(super) fn write_file(&self, handle: FileHandle, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let file = self.files.get(handle)?;
        let admitted = self.gate.admit(data.len())?;
        let written = rustix::io::pwrite(&*file, &data[..admitted], offset)?;
        self.gate.count(written);
        u32::try_from(written).map_err(|_| Errno::OVERFLOW)
    }

    pub(super) fn allocate(
        &self,
        handle: FileHandle,
        mode: i32,
        offset: u64,
        length: u64,
    ) -> Result<(), Errno> {
        let file = self.files.get(handle)?;
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        if !mode.contains(FallocateFlags::PUNCH_HOLE) {
            self.gate.admit(usize::try_from(length).unwrap_or(usize::MAX))?;
        }
        rustix::fs::fallocate(&*file, mode, offset, length)
    }

    pub(super) fn seek_file(&self, handle: FileHandle, offset: i64, whence: i32) -> Result<i64, Errno> {
        let start = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
        let target = match whence {
            libc::SEEK_DATA => SeekFrom::Data(start),
            libc::SEEK_HOLE => SeekFrom::Hole(start),
            libc::SEEK_SET => SeekFrom::Start(start),
            libc::SEEK_END => SeekFrom::End(offset),
            _ => return Err(Errno::INVAL),
        };
        let found = rustix::fs::seek(&*self.files.get(handle)?, target)?;
        i64::try_from(found).map_err(|_| Errno::OVERFLOW)
    }

    pub(super) fn sync_file(&self, handle: FileHandle, data_only: bool) -> Result<(), Errno> {
        let file = self.files.get(handle)?;
        if data_only { rustix::fs::fdatasync(&*file) } else { rustix::fs::fsync(&*file) }
    }

    pub(super) fn list(&self, node: u64, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let directory = match self.directories.get(handle) {
            Ok(directory) => directory,
            Err(error) => return reply.error(errno(error)),
        };
        let mut entries = directory.0.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            match self.entries(node) {
                Ok(fresh) => *entries = fresh,
                Err(error) => return reply.error(errno(error)),
            }
        }
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, entry) in entries.iter().enumerate().skip(first) {
            // The offset of an entry is where the next read shall start.
            if reply.add(INodeNo(entry.node), index as u64 + 1, entry.kind, &entry.name) {
                break;
            }
        }
        reply.ok();
    }

    pub(super) fn sync_directory(&self, node: u64) -> Result<(), Errno> {
        rustix::fs::fsync(self.open_directory(node)?)
    }

    fn open_directory(&self, node: u64) -> Result<OwnedFd, Errno> {
        let path_fd = self.inodes.get(node)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(fd_path(&*path_fd), flags, Mode::empty())
    }

    fn entries(&self, node: u64) -> Result<Vec<Entry>, Errno> {
        let listing = rustix::fs::Dir::new(self.open_directory(node)?)?;
        listing
            .map(|entry| {
                let entry = entry?;
                Ok(Entry {
                    node: entry.ino(),
                    kind: attr::kind(entry.file_type()),
                    name: OsString::from_vec(entry.file_name().to_bytes().to_vec()),
                })
            })
            .collect()
    }
}
