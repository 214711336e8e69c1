//! Plain calls: descriptors, maps, locks, children.

use std::os::fd::IntoRawFd;

use super::answers::{done, number};
use super::{Answer, Ask, LockBy};
use crate::calls::{self, Errno};
use crate::{file, map, probe};

pub(super) fn answer(ask: Ask) -> Answer {
    match ask {
        Ask::Open { path, flags } => number(file::try_open(&path, flags).map(IntoRawFd::into_raw_fd)),
        // SAFETY: the test names a descriptor that it had opened.
        Ask::Close { fd } => number(done(unsafe { libc::close(fd) })),
        Ask::Map { fd, len, prot, flags, off } => match calls::mmap(0, len, prot, flags, fd, off) {
            Ok(addr) => Answer::Mapped(addr, behind(addr)),
            Err(Errno(error)) => Answer::Errno(error),
        },
        Ask::Unmap { addr, len } => number(calls::munmap(addr, len).map(|()| 0)),
        Ask::Sync { addr, len, flags } => number(calls::msync(addr, len, flags).map(|()| 0)),
        Ask::Load { addr, len } => Answer::Bytes((addr..addr + len).map(map::get).collect()),
        Ask::Store { addr, bytes } => {
            (addr..).zip(&bytes).for_each(|(at, byte)| map::set(at, *byte));
            Answer::Number(0)
        }
        Ask::Probe { addr } => match probe::load(addr) {
            Ok(byte) => Answer::Number(byte.into()),
            Err(fault) => Answer::Fault(fault.signal),
        },
        Ask::Lock { by, fd, start, len } => number(lock(by, fd, start, len)),
        Ask::Unlock { fd, start, len } => {
            let lock = libc::flock { l_type: libc::F_UNLCK as i16, ..crate::locks::write_lock(start, len) };
            // SAFETY: the struct lives through the call.
            number(done(unsafe { libc::fcntl(fd, libc::F_SETLK, &lock) }))
        }
        Ask::Reap { pid } => number(reap(pid)),
        // SAFETY: numbers; what was the other user's is to be left behind.
        Ask::SetUser { user } => number(done(unsafe { libc::setgid(user) | libc::setuid(user) })),
        Ask::StoreInVfork { addr, byte } => number(super::threads::store_in_vfork(addr, byte)),
        other => unreachable!("{other:?} is done elsewhere"),
    }
}

/// What is behind the map at `addr`.
fn behind(addr: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    let holds = |line: &&str| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some((number(from)?..number(to)?).contains(&addr))
    };
    let line = maps.lines().find(|line| holds(line) == Some(true)).unwrap_or_default();
    // Five columns of which none has a blank, then the name, which may.
    line.splitn(6, ' ').nth(5).unwrap_or_default().trim_start().to_owned()
}

/// A write lock on `len` bytes from `start`, 0 for all, that is had now or not at all.
fn lock(by: LockBy, fd: i32, start: i64, len: i64) -> Result<i32, Errno> {
    let command = match by {
        // SAFETY: no memory is passed.
        LockBy::Flock => return done(unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) }),
        LockBy::Fcntl => libc::F_SETLK,
        LockBy::OpenFile => libc::F_OFD_SETLK,
    };
    let lock = crate::locks::write_lock(start, len);
    // SAFETY: the struct lives through the call.
    done(unsafe { libc::fcntl(fd, command, &lock) })
}

/// The wait status of a child that has ended or is about to.
fn reap(pid: i32) -> Result<i32, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives through the call.
        match done(unsafe { libc::waitpid(pid, &mut status, 0) }) {
            Err(Errno(libc::EINTR)) => {}
            result => return result.map(|_| status),
        }
    }
}
