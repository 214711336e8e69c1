//! The directory in which the processes of one user find each other's images.
//!
//! `/dev/shm` comes before `$XDG_RUNTIME_DIR`: it is the same for every process of the user, whatever the environment
//! of each, and two directories would be two images of one file. Anybody may make names there, so that nothing is
//! taken for ours before its owner and mode are checked on what was really opened.

use crate::sys::Errno;
use crate::sys::os::fd::{Private, with_room};
use crate::sys::os::file;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::path::{Path, PathBuf};

/// Names that are tried under `/dev/shm`: somebody else may have made the first.
const NAMES: usize = 8;
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// The directory, open.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: Private,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory, and makes it if there is none. `chosen`: this one and no other.
    ///
    /// # Errors
    /// `EACCES` when `chosen` is not this user's alone; what `open` and `mkdir` say.
    pub(crate) fn open(chosen: Option<&Path>) -> Result<Dir, Errno> {
        if let Some(path) = chosen {
            return Dir::existing(path).or_else(|_| Dir::made(path));
        }
        let uid = rustix::process::geteuid().as_raw();
        let name = |nth| match nth {
            0 => format!("/dev/shm/mapback-{uid}").into(),
            _ => PathBuf::from(format!("/dev/shm/mapback-{uid}-{nth}")),
        };
        let in_memory = |dir: &Dir| file::fs_magic(dir.fd.as_fd()) == Ok(TMPFS_MAGIC);
        // One that is there already comes first, so that all agree even when an earlier name becomes free.
        let found = (0..NAMES).find_map(|nth| Dir::existing(&name(nth)).ok());
        let made = || (0..NAMES).find_map(|nth| Dir::made(&name(nth)).ok());
        if let Some(dir) = found.or_else(made).filter(in_memory) {
            return Ok(dir);
        }
        let runtime =
            std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()).ok_or(Errno::NOENT)?;
        let path = Path::new(&runtime).join("mapback");
        Dir::existing(&path).or_else(|_| Dir::made(&path))
    }

    fn existing(path: &Path) -> Result<Dir, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = Private::new(with_room(|| rustix::fs::open(path, flags, Mode::empty()))?);
        let st = rustix::fs::fstat(&fd)?;
        if st.st_uid != rustix::process::geteuid().as_raw() || st.st_mode & 0o077 != 0 {
            return Err(Errno::ACCESS);
        }
        Ok(Dir { fd, path: path.into() })
    }

    fn made(path: &Path) -> Result<Dir, Errno> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            // Somebody was faster; it may have been another process of ours.
            Ok(()) | Err(Errno::EXIST) => Dir::existing(path),
            Err(errno) => Err(errno),
        }
    }

    /// Where it lies, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file of ours, and makes it if `create`. It is a regular file of this user with one name, or an error.
    ///
    /// # Errors
    /// `ENOENT` without `create`; `EACCES` for what is not ours, `EMLINK` for what has a second name; what `open` says.
    pub(crate) fn file(&self, name: &str, create: bool) -> Result<Private, Errno> {
        // O_NONBLOCK: a pipe in this place must not make us wait.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = if create { flags | OFlags::CREATE } else { flags };
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = Private::new(with_room(|| rustix::fs::openat(&self.fd, name, flags, mode))?);
        let st = rustix::fs::fstat(&fd)?;
        let regular = FileType::from_raw_mode(st.st_mode) == FileType::RegularFile;
        if !regular || st.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Errno::ACCESS);
        }
        if st.st_nlink > 1 {
            // Not to be cleared away: others may be using it right now.
            return Err(Errno::MLINK);
        }
        if st.st_mode & 0o777 != 0o600 {
            rustix::fs::fchmod(&fd, mode)?;
        }
        Ok(fd)
    }

    /// Takes a name away. What is a directory stays.
    pub(crate) fn remove(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
    }

    /// Whether nothing has the name.
    pub(crate) fn is_free(&self, name: &str) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT)
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// Those of `rename`.
    pub(crate) fn rename(&self, name: &str, new: &str) -> Result<(), Errno> {
        rustix::fs::renameat(&self.fd, name, &self.fd, new)
    }

    /// Whether `fd` is what the name stands for.
    pub(crate) fn names(&self, name: &str, fd: BorrowedFd<'_>) -> bool {
        let there = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let here = rustix::fs::fstat(fd);
        matches!((there, here), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    /// The names in it that end in `suffix`, without it.
    ///
    /// # Errors
    /// Those of reading a directory.
    pub(crate) fn list(&self, suffix: &str) -> Result<Vec<String>, Errno> {
        let again = with_room(|| {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
            rustix::fs::openat(&self.fd, c".", flags, Mode::empty())
        })?;
        let again = Private::stay(again);
        let mut names = Vec::new();
        let mut buffer = Vec::with_capacity(8192);
        let mut entries = rustix::fs::RawDir::new(&again, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            if let Ok(name) = entry?.file_name().to_str()
                && let Some(stem) = name.strip_suffix(suffix)
            {
                names.push(stem.to_owned());
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mapback-dir-{name}-{}", crate::sys::os::pid()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn it_is_made_for_this_user_alone_and_found_again() {
        let path = scratch("made");
        Dir::open(Some(&path)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        Dir::open(Some(&path)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(Dir::open(Some(&path)).unwrap_err(), Errno::ACCESS);
        std::fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("/", &path).unwrap();
        assert!(Dir::open(Some(&path)).is_err());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn only_regular_files_with_one_name_are_ours() {
        let path = scratch("files");
        let dir = Dir::open(Some(&path)).unwrap();
        drop(dir.file("a.ctl", true).unwrap());
        std::fs::hard_link(path.join("a.ctl"), path.join("b.ctl")).unwrap();
        assert_eq!(dir.file("a.ctl", true).unwrap_err(), Errno::MLINK);
        std::os::unix::fs::symlink("/etc/passwd", path.join("c.ctl")).unwrap();
        assert!(dir.file("c.ctl", true).is_err());
        std::fs::create_dir(path.join("d.ctl")).unwrap();
        assert!(dir.file("d.ctl", true).is_err());
        rustix::fs::mknodat(rustix::fs::CWD, path.join("e.ctl"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(dir.file("e.ctl", true).unwrap_err(), Errno::ACCESS);
        let mut names = dir.list(".ctl").unwrap();
        names.sort();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        std::fs::remove_dir_all(path).unwrap();
    }
}
