//! The part of userfaultfd(2) that asynchronous write protection needs; no published binding has it.

use super::fd::{Private, with_room};
use super::raw::{Sysno, call};
use core::ops::Range;
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

const UFFD_USER_MODE_ONLY: usize = 1;
const O_CLOEXEC: usize = 0o2000000;
const UFFD_API: u64 = 0xAA;

/// Features of `UFFDIO_API` (`<linux/userfaultfd.h>`).
pub(crate) const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
/// Write protection on hugetlbfs and shared memory.
pub(crate) const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
/// Write protection of pages that are not there yet.
pub(crate) const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
/// The kernel resolves the faults itself and only notes them.
pub(crate) const FEATURE_WP_ASYNC: u64 = 1 << 15;
/// All that the `wp-async` tracker asks for.
pub(crate) const WANTED: u64 =
    FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC;

const REGISTER_MODE_WP: u64 = 1 << 1;

/// `_IOWR(0xAA, nr, size)`.
const fn iowr(nr: usize, size: usize) -> usize {
    (3 << 30) | (size << 16) | (0xAA << 8) | nr
}
const UFFDIO_API: usize = iowr(0x3F, size_of::<Api>());
const UFFDIO_REGISTER: usize = iowr(0x00, size_of::<Register>());
const UFFDIO_UNREGISTER: usize = (2 << 30) | (size_of::<[u64; 2]>() << 16) | (0xAA << 8) | 0x01;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

/// A userfaultfd of this process, in asynchronous write-protect mode.
#[derive(Debug)]
pub(crate) struct Uffd {
    fd: Private,
}

/// Opens a userfaultfd for faults of user mode, which needs no privilege.
fn open() -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes no pointer.
    let ask = || unsafe { call(Sysno::userfaultfd, [O_CLOEXEC | UFFD_USER_MODE_ONLY, 0, 0, 0, 0, 0]) };
    let fd = with_room(ask)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The features that this kernel offers.
///
/// # Errors
/// `EPERM` or `ENOSYS` where userfaultfd is not to be had.
pub(crate) fn features() -> Result<u64, Errno> {
    let fd = open()?;
    let mut api = Api { api: UFFD_API, features: 0, ioctls: 0 };
    // SAFETY: `api` is of the layout that UFFDIO_API reads and writes.
    unsafe { ioctl(fd.as_raw_fd(), UFFDIO_API, &raw mut api as usize) }?;
    Ok(api.features)
}

/// # Safety
/// `arg` must be the address of the structure that `request` reads and writes.
unsafe fn ioctl(fd: i32, request: usize, arg: usize) -> Result<(), Errno> {
    // SAFETY: the caller vouches for `arg`.
    unsafe { call(Sysno::ioctl, [fd as usize, request, arg, 0, 0, 0]) }.map(drop)
}

impl Uffd {
    /// Opens one with the features of [`WANTED`].
    ///
    /// # Errors
    /// `EINVAL` where the kernel lacks one of them; those of userfaultfd(2).
    pub(crate) fn new() -> Result<Uffd, Errno> {
        let fd = Private::new(open()?);
        let mut api = Api { api: UFFD_API, features: WANTED, ioctls: 0 };
        // SAFETY: `api` is of the layout that UFFDIO_API reads and writes.
        unsafe { ioctl(fd.as_fd().as_raw_fd(), UFFDIO_API, &raw mut api as usize) }?;
        Ok(Uffd { fd })
    }

    /// Registers a range for write protection. Registering again is harmless.
    ///
    /// # Errors
    /// `EBUSY` when another userfaultfd has it, `EINVAL` for memory that cannot be tracked.
    pub(crate) fn register(&self, range: &Range<usize>) -> Result<(), Errno> {
        let (start, len) = (range.start as u64, range.len() as u64);
        let mut arg = Register { start, len, mode: REGISTER_MODE_WP, ioctls: 0 };
        // SAFETY: `arg` is of the layout that UFFDIO_REGISTER reads and writes.
        unsafe { ioctl(self.fd.as_fd().as_raw_fd(), UFFDIO_REGISTER, &raw mut arg as usize) }
    }

    /// Ends a registration, so that the range can be one map with its neighbours again.
    ///
    /// # Errors
    /// `EINVAL` for memory that cannot be tracked.
    pub(crate) fn unregister(&self, range: &Range<usize>) -> Result<(), Errno> {
        let mut arg = [range.start as u64, range.len() as u64];
        // SAFETY: `arg` is of the layout that UFFDIO_UNREGISTER reads.
        unsafe { ioctl(self.fd.as_fd().as_raw_fd(), UFFDIO_UNREGISTER, &raw mut arg as usize) }
    }
}
