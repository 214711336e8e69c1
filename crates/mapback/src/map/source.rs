//! What can be mapped.

use crate::store::{FileStore, Store};
use crate::sys::os::companion::{self, Owner};
use crate::sys::os::fd::{self, AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What can be mapped: an open file by reference (`&File`, or anything else that is [`AsFd`]), a `File` or an
/// [`OwnedFd`] by value, a `&Path`, or a [`Store`] in an [`Arc`].
///
/// The descriptor may be closed as soon as the map is made. A path is opened for reading and writing if the map shall
/// be written back, else for reading.
///
/// # Examples
///
/// ```
/// use mapback::{Mmap, store::MemoryStore};
/// use std::{fs::File, path::Path, sync::Arc};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("data");
/// std::fs::write(&path, "content")?;
/// let by_reference = Mmap::map(&File::open(&path)?)?;
/// let by_path = Mmap::map(path.as_path())?;
/// let by_store = Mmap::map(Arc::new(MemoryStore::new(b"content".to_vec())))?;
/// assert!(by_reference == by_path && by_path == by_store);
/// # std::io::Result::Ok(())
/// ```
pub trait Source: sealed::Open {}

/// An opened source.
pub struct Opened {
    pub(super) store: Arc<dyn Store>,
    /// Whose file it is, if it is one, so that its journal may stand next to it.
    pub(super) owner: Option<Owner>,
    pub(super) writable: bool,
}

mod sealed {
    use super::*;

    pub trait Open {
        /// `write`: the map shall be written back.
        fn open(self, write: bool) -> io::Result<Opened>;
    }
}

pub(super) use sealed::Open;

fn from_fd(fd: impl AsFd) -> io::Result<Opened> {
    let store = FileStore::from_fd(fd)?;
    let owner = Some(companion::owner(store.fd())?);
    Ok(Opened { writable: store.may_write(), store: Arc::new(store), owner })
}

impl<T: AsFd> Source for &T {}
impl<T: AsFd> Open for &T {
    fn open(self, _: bool) -> io::Result<Opened> {
        from_fd(self)
    }
}

impl Source for File {}
impl Open for File {
    fn open(self, _: bool) -> io::Result<Opened> {
        from_fd(self)
    }
}

impl Source for OwnedFd {}
impl Open for OwnedFd {
    fn open(self, _: bool) -> io::Result<Opened> {
        from_fd(self)
    }
}

impl Source for BorrowedFd<'_> {}
impl Open for BorrowedFd<'_> {
    fn open(self, _: bool) -> io::Result<Opened> {
        from_fd(self)
    }
}

impl Source for &Path {}
impl Open for &Path {
    fn open(self, write: bool) -> io::Result<Opened> {
        from_fd(OpenOptions::new().read(true).write(write).open(self)?)
    }
}

impl<S: Store + 'static> Source for Arc<S> {}
impl<S: Store + 'static> Open for Arc<S> {
    fn open(self, _: bool) -> io::Result<Opened> {
        Ok(Opened { store: self, owner: None, writable: true })
    }
}

impl Source for Arc<dyn Store> {}
impl Open for Arc<dyn Store> {
    fn open(self, _: bool) -> io::Result<Opened> {
        Ok(Opened { store: self, owner: None, writable: true })
    }
}

/// A descriptor by its number, as memmap2 has it.
///
/// It says nothing of who owns the descriptor, so that using it is `unsafe`: see [`MmapRawDescriptor::borrow`].
#[derive(Clone, Copy, Debug)]
pub struct MmapRawDescriptor(RawFd);

/// What has a descriptor: memmap2's trait, for generic code that is bound by it. mapback's own constructors take a
/// [`Source`].
///
/// # Examples
///
/// ```
/// use mapback::{Mmap, MmapAsRawDesc};
/// use std::os::fd::AsFd;
///
/// /// Was written for memmap2, with the first bound only. With the second it needs no `unsafe`.
/// fn sum<T: MmapAsRawDesc + AsFd>(file: T) -> std::io::Result<u64> {
///     let map = Mmap::map(&file)?;
///     Ok(map.iter().map(|b| u64::from(*b)).sum())
/// }
///
/// # let dir = tempfile::tempdir()?;
/// # std::fs::write(dir.path().join("data"), [1, 2, 3])?;
/// assert_eq!(sum(&std::fs::File::open(dir.path().join("data"))?)?, 6);
/// # std::io::Result::Ok(())
/// ```
pub trait MmapAsRawDesc {
    /// The descriptor.
    fn as_raw_desc(&self) -> MmapRawDescriptor;
}

impl MmapAsRawDesc for RawFd {
    fn as_raw_desc(&self) -> MmapRawDescriptor {
        MmapRawDescriptor(*self)
    }
}

impl<T: AsRawFd> MmapAsRawDesc for &T {
    fn as_raw_desc(&self) -> MmapRawDescriptor {
        MmapRawDescriptor(fd::raw_of(*self))
    }
}

impl MmapRawDescriptor {
    /// The descriptor, as something that can be mapped.
    ///
    /// # Panics
    /// If it is −1.
    ///
    /// # Safety
    /// It has to be open as long as what is returned is used.
    pub unsafe fn borrow<'fd>(self) -> BorrowedFd<'fd> {
        assert!(self.0 as isize != -1, "−1 is no descriptor");
        // SAFETY: the caller's word.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}
