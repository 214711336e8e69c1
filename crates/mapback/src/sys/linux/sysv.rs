//! A small System V segment: memory that all processes of a user find by a number, and that nobody can cut short, so
//! that looking into it is never a fault.

use super::raw::{Sysno, call};
use rustix::io::Errno;

const IPC_CREAT: usize = 0o1000;
const IPC_EXCL: usize = 0o2000;
const IPC_STAT: usize = 2;

/// `struct shmid64_ds` of 64-bit Linux, as far as it is looked at.
#[repr(C)]
#[derive(Default)]
struct Segment {
    key: i32,
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    mode: u32,
    rest: [u64; 32],
}

/// Attaches the segment of a number; `make`: which is made if it is not there: zeroed, for this user alone. Returns its
/// address; it stays attached for good.
///
/// # Errors
/// `EACCES` when the number is somebody else's; what `shmget` and `shmat` say.
pub(crate) fn attach(key: i32, len: usize, make: bool) -> Result<usize, Errno> {
    let get = |flags: usize| {
        // SAFETY: makes or finds a segment; no memory of ours is touched.
        unsafe { call(Sysno::shmget, [key as usize, len, flags | 0o600, 0, 0, 0]) }
    };
    let id = match get(0) {
        Err(Errno::NOENT) if make => match get(IPC_CREAT | IPC_EXCL) {
            Err(Errno::EXIST) => get(0)?,
            made => made?,
        },
        found => found?,
    };
    let mut segment = Segment::default();
    // SAFETY: `segment` is larger than what the kernel writes.
    unsafe { call(Sysno::shmctl, [id, IPC_STAT, &raw mut segment as usize, 0, 0, 0]) }?;
    let uid = rustix::process::geteuid().as_raw();
    if segment.uid != uid || segment.cuid != uid || segment.mode & 0o777 != 0o600 {
        return Err(Errno::ACCESS);
    }
    // SAFETY: the kernel chooses an address that is free. A segment that exists with this size cannot shrink.
    unsafe { call(Sysno::shmat, [id, 0, 0, 0, 0, 0]) }
}
