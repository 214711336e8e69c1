//! Other users: a file that two users map has an image for each, which nobody could reconcile if one of them wrote.
//!
//! Each user who has an image of a file has an empty file in `/dev/shm`, named by a digest of the file's identity and
//! the user's number. It says nothing to those who cannot ask the file for its identity, and is locked for as long as
//! a process of the user lives: byte 0 by all who have the image, byte 1 by those who may write.

use crate::sys::Errno;
use crate::sys::os::fd::{Private, with_room};
use crate::sys::os::file::{FileId, digest};
use crate::sys::os::{self, ofd};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Mode, OFlags};
use std::path::Path;

const PLACE: &str = "/dev/shm";
const HERE: u64 = 0;
const WRITES: u64 = 1;

/// This user has an image of a file.
#[derive(Debug)]
pub(crate) struct Presence {
    mark: Private,
    name: String,
    uid: u32,
    writes: bool,
}

impl Presence {
    /// Says that this user has an image of the file, if no other user's stands against it. `None`: there is no place to
    /// say so.
    ///
    /// # Errors
    /// `EACCES` when another user's process has an image and one of the two may write.
    pub(crate) fn claim(id: &FileId, path: &Path, writes: bool) -> Result<Option<Presence>, Errno> {
        let uid = os::effective_uid();
        let text = format!("{:x}:{:x}:{:x}:{:x}", id.dev, id.ino, id.birth, id.handle);
        let name = format!("mapback.{:016x}", digest(text.as_bytes()));
        let Ok(mark) = held_mark(&format!("{PLACE}/{name}.{uid}"), uid) else { return Ok(None) };
        let mut presence = Presence { mark, name, uid, writes: false };
        match presence.may(writes, path) {
            Ok(()) => Ok(Some(presence)),
            Err(errno) => {
                presence.end();
                Err(errno)
            }
        }
    }

    /// Sees that no other user's image stands against this user's, and says that this one may write from now on.
    ///
    /// # Errors
    /// As [`Presence::claim`].
    pub(crate) fn may(&mut self, writes: bool, path: &Path) -> Result<(), Errno> {
        if writes && !self.writes {
            ofd::lock_shared(self.mark.as_fd(), WRITES)?;
        }
        let Some(user) = self.opponent(writes || self.writes) else {
            self.writes |= writes;
            return Ok(());
        };
        if writes && !self.writes {
            ofd::unlock(self.mark.as_fd(), WRITES);
        }
        crate::report::line(&format!(
            "{} is mapped through mapback by a process of user {user}; two users cannot share a file that one of them \
             may write. End that process, or run both as one user",
            path.display()
        ));
        Err(Errno::ACCESS)
    }

    /// Another user who has an image that must not be beside this user's.
    fn opponent(&self, writes: bool) -> Option<u32> {
        let users: Vec<u32> = names().iter().filter_map(|name| self.user_of(name)).collect();
        users.into_iter().find(|user| stands_against(&format!("{PLACE}/{}.{user}", self.name), *user, writes))
    }

    /// Whose mark a name is, if it is one of another user for the same file.
    fn user_of(&self, name: &str) -> Option<u32> {
        let user = name.strip_prefix(&self.name)?.strip_prefix('.')?.parse().ok()?;
        (user != self.uid).then_some(user)
    }

    /// In a forked child: a mark of its own description, since the parent's ends with the parent.
    pub(crate) fn renew(&mut self) {
        if let Ok(mark) = held_mark(&format!("{PLACE}/{}.{}", self.name, self.uid), self.uid) {
            if self.writes {
                let _ = ofd::lock_shared(mark.as_fd(), WRITES);
            }
            self.mark = mark;
        }
    }

    /// This process has the image no more. The last of the user's takes the mark away.
    pub(crate) fn end(self) {
        ofd::unlock(self.mark.as_fd(), HERE);
        ofd::unlock(self.mark.as_fd(), WRITES);
        take_away(&self.mark, &format!("{PLACE}/{}.{}", self.name, self.uid));
    }

    /// Takes away the marks that processes of this user left when they were killed.
    pub(crate) fn clear_left() {
        let uid = os::effective_uid();
        for name in names() {
            let theirs = name.strip_prefix("mapback.").and_then(|rest| rest.split_once('.'));
            if theirs.and_then(|(_, user)| user.parse().ok()) == Some(uid) {
                let path = format!("{PLACE}/{name}");
                if let Ok(mark) = own_mark(&path, uid) {
                    take_away(&mark, &path);
                }
            }
        }
    }
}

/// Unlinks a mark that nobody holds. Who opened it meanwhile finds that it has no name, and makes another.
fn take_away(mark: &Private, path: &str) {
    let alone = |byte| ofd::try_lock(mark.as_fd(), byte) == Ok(true);
    if alone(HERE) && alone(WRITES) {
        let _ = rustix::fs::unlink(path);
    }
    ofd::unlock(mark.as_fd(), HERE);
    ofd::unlock(mark.as_fd(), WRITES);
}

/// The names in the place of the marks.
fn names() -> Vec<String> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let Ok(place) = with_room(|| rustix::fs::open(PLACE, flags, Mode::empty())) else { return Vec::new() };
    let place = Private::stay(place);
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = rustix::fs::RawDir::new(&place, buffer.spare_capacity_mut());
    let mut all = Vec::new();
    while let Some(Ok(entry)) = entries.next() {
        all.extend(
            entry.file_name().to_str().ok().filter(|name| name.starts_with("mapback.")).map(str::to_owned),
        );
    }
    all
}

/// This user's mark, made if it is not there, with its lock held.
fn held_mark(path: &str, uid: u32) -> Result<Private, Errno> {
    const TRIES: usize = 1000;
    for _ in 0..TRIES {
        let mark = own_mark(path, uid)?;
        let named = || {
            let (here, there) = (rustix::fs::fstat(&mark)?, rustix::fs::lstat(path)?);
            Ok::<_, Errno>((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino))
        };
        // Somebody may be taking it away right now.
        if ofd::lock_shared(mark.as_fd(), HERE).is_ok() && named() == Ok(true) {
            return Ok(mark);
        }
    }
    Err(Errno::AGAIN)
}

/// Opens this user's mark, and makes it.
fn own_mark(path: &str, uid: u32) -> Result<Private, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let mark = Private::new(with_room(|| rustix::fs::open(path, flags, mode))?);
    let st = rustix::fs::fstat(&mark)?;
    if st.st_uid != uid || FileType::from_raw_mode(st.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    if st.st_mode & 0o777 != 0o644 {
        rustix::fs::fchmod(&mark, mode)?;
    }
    Ok(mark)
}

/// Whether a mark is really a user's, and locked by who must not have an image beside ours.
fn stands_against(path: &str, user: u32, writes: bool) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(mark) = with_room(|| rustix::fs::open(path, flags, Mode::empty())) else { return false };
    let mark = Private::stay(mark);
    let theirs = rustix::fs::fstat(&mark).is_ok_and(|st| st.st_uid == user);
    let bytes = if writes { HERE..WRITES + 1 } else { WRITES..WRITES + 1 };
    theirs && ofd::is_held(mark.as_fd(), bytes)
}
