//! Names: looking them up, making, linking, renaming and removing them.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use fuser::{FileAttr, FileHandle, Request};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;

use super::{Passthrough, attr, fd_path};

/// What `add` shall make.
pub(super) enum New<'a> {
    Directory(Mode),
    Symlink(&'a Path),
    Node(FileType, Mode, u64),
}

impl Passthrough {
    pub(super) fn lookup_name(&self, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let parent = self.inodes.get(parent)?;
        self.intern(&*parent, name)
    }

    pub(super) fn add(
        &self,
        req: &Request,
        parent: u64,
        name: &OsStr,
        new: New<'_>,
    ) -> Result<FileAttr, Errno> {
        let parent = self.inodes.get(parent)?;
        match new {
            New::Directory(mode) => rustix::fs::mkdirat(&*parent, name, mode)?,
            New::Symlink(target) => rustix::fs::symlinkat(target, &*parent, name)?,
            New::Node(kind, mode, device) => rustix::fs::mknodat(&*parent, name, kind, mode, device)?,
        }
        self.give_to_caller(req, &*parent, name)?;
        self.intern(&*parent, name)
    }

    pub(super) fn create_file(
        &self,
        req: &Request,
        parent: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> Result<(FileAttr, FileHandle), Errno> {
        let parent = self.inodes.get(parent)?;
        let flags = super::io::underlying_flags(flags) | OFlags::CREATE;
        let mode = Mode::from_raw_mode(mode);
        // Exclusive first: only a file that this call made may be given to the caller.
        let file = match rustix::fs::openat(&*parent, name, flags | OFlags::EXCL, mode) {
            Ok(file) => {
                self.give_to_caller(req, &*parent, name)?;
                file
            }
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => {
                rustix::fs::openat(&*parent, name, flags, mode)?
            }
            Err(errno) => return Err(errno),
        };
        // By descriptor, not by name: the name may already mean another file.
        let path_fd = rustix::fs::open(fd_path(&file), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&path_fd)?;
        let node = self.inodes.intern(path_fd, &stat);
        Ok((attr::attr(node, &stat), self.files.add(file)))
    }

    pub(super) fn add_link(&self, node: u64, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let file = self.inodes.get(node)?;
        let parent = self.inodes.get(parent)?;
        rustix::fs::linkat(CWD, fd_path(&*file), &*parent, name, AtFlags::SYMLINK_FOLLOW)?;
        self.intern(&*parent, name)
    }

    pub(super) fn remove(&self, parent: u64, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
        rustix::fs::unlinkat(&*self.inodes.get(parent)?, name, flags)
    }

    pub(super) fn move_name(
        &self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let (old, new) = (self.inodes.get(from.0)?, self.inodes.get(to.0)?);
        rustix::fs::renameat_with(&*old, from.1, &*new, to.1, flags)
    }

    pub(super) fn link_target(&self, node: u64) -> Result<Vec<u8>, Errno> {
        let link = self.inodes.get(node)?;
        Ok(rustix::fs::readlinkat(&*link, "", Vec::new())?.into_bytes())
    }

    fn intern(&self, parent: impl AsFd, name: &OsStr) -> Result<FileAttr, Errno> {
        let path_fd: OwnedFd = rustix::fs::openat(
            parent,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let stat = rustix::fs::fstat(&path_fd)?;
        let node = self.inodes.intern(path_fd, &stat);
        Ok(attr::attr(node, &stat))
    }

    /// A root server makes root's files: hand a new one to the user who asked for it.
    fn give_to_caller(&self, req: &Request, parent: impl AsFd, name: &OsStr) -> Result<(), Errno> {
        if !self.serves_all || (req.uid() == 0 && req.gid() == 0) {
            return Ok(());
        }
        let inherits_group = rustix::fs::fstat(&parent)?.st_mode & 0o2000 != 0;
        let group = (!inherits_group).then(|| Gid::from_raw(req.gid()));
        let owner = Some(Uid::from_raw(req.uid()));
        rustix::fs::chownat(parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)
    }
}
