//! A file of ours beside one of the program's: whose it may be, and how it is opened, locked and removed.

use super::errno::Errno;
use super::fd::Borrowed;
use super::file::{self, SHARE_ALL, is_being_deleted};
use super::security::{Descriptor, User};
use std::fs::OpenOptions;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use windows_sys::Win32::Foundation as f;
use windows_sys::Win32::Storage::FileSystem as w;
use windows_sys::Win32::System::IO::OVERLAPPED;

/// Whose a file is, and who may do what with it.
#[derive(Debug)]
pub(crate) struct Owner(Descriptor);

impl Owner {
    /// This process's user, and nobody else.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn this_user() -> Result<Owner, Errno> {
        Ok(Owner(Descriptor::only(&User::current()?)?))
    }

    /// Whether who made a file could have written to another one, whose owner is `of`: in a directory where anybody may
    /// make names, anybody may make this one. This user, an administrator and the system always could.
    ///
    /// Who else may have written to it since is not asked: ours get the access list of the file that they stand beside.
    pub(crate) fn may_speak_for(&self, of: &Owner) -> bool {
        self.0.has_owner_of(&of.0)
            || self.0.belongs_to_the_system()
            || User::current().is_ok_and(|user| self.0.is_owned_by(&user))
    }
}

/// Whose an open file is.
///
/// # Errors
/// What the file system says.
pub(crate) fn owner(fd: Borrowed<'_>) -> Result<Owner, Errno> {
    Ok(Owner(Descriptor::of_file(fd)?))
}

/// Makes a file that is not there yet, with the access list of another one.
///
/// # Errors
/// `EEXIST`; those of `CreateFileW`.
pub(crate) fn make_like(path: &Path, like: &Owner) -> Result<OwnedHandle, Errno> {
    // As the system has it, so that it may be longer than 260 characters.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = dir.canonicalize().map_err(of_std)?;
    let path = dir.join(path.file_name().ok_or(Errno::NOENT)?);
    let name: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    let access = f::GENERIC_READ | f::GENERIC_WRITE;
    let (attributes, none) = (like.0.attributes(), core::ptr::null_mut());
    // SAFETY: a name that ends in zero; the attributes point to a descriptor that lives through the call.
    let new = unsafe {
        w::CreateFileW(name.as_ptr(), access, SHARE_ALL, &raw const attributes, w::CREATE_NEW, 0, none)
    };
    if new == f::INVALID_HANDLE_VALUE {
        return Err(Errno::last());
    }
    // SAFETY: just opened, owned by nobody else.
    Ok(unsafe { OwnedHandle::from_raw_handle(new) })
}

/// Opens one that is there, and follows no link; `None` if there is none.
///
/// # Errors
/// Those of `CreateFileW`; `EACCES` for a link.
pub(crate) fn open(path: &Path, write: bool) -> Result<Option<OwnedHandle>, Errno> {
    /// How often to look whether a file that is being deleted is gone.
    const TRIES: u32 = 500;
    let mut options = OpenOptions::new();
    options.read(true).write(write).share_mode(SHARE_ALL).custom_flags(w::FILE_FLAG_OPEN_REPARSE_POINT);
    let mut nth = 0;
    let opened = loop {
        match options.open(path) {
            Ok(opened) => break opened,
            Err(error) => match error.raw_os_error().unwrap_or_default() as u32 {
                f::ERROR_FILE_NOT_FOUND | f::ERROR_PATH_NOT_FOUND => return Ok(None),
                // Who has it open shares it with nobody.
                f::ERROR_SHARING_VIOLATION => return Err(Errno::BUSY),
                f::ERROR_ACCESS_DENIED if nth < TRIES && is_being_deleted() => {
                    nth += 1;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                error => return Err(Errno::of(error)),
            },
        }
    };
    let attributes = opened.metadata().map_or(0, |found| {
        use std::os::windows::fs::MetadataExt;
        found.file_attributes()
    });
    if attributes & w::FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        Err(Errno::ACCESS)
    } else {
        Ok(Some(opened.into()))
    }
}

/// Whether a name stands for an open file.
///
/// # Errors
/// What the file system says.
pub(crate) fn is_named(fd: Borrowed<'_>, path: &Path) -> Result<bool, Errno> {
    let is = file::identity(fd)?;
    Ok(file::look_at(path).is_ok_and(|named| file::identity(named.as_handle()) == Ok(is)))
}

/// Removes a name, if it is there.
///
/// # Errors
/// Those of `DeleteFileW`.
pub(crate) fn remove(path: &Path) -> Result<(), Errno> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(of_std(error)),
        _ => Ok(()),
    }
}

fn of_std(error: io::Error) -> Errno {
    Errno::of(error.raw_os_error().unwrap_or_default() as u32)
}

/// Makes sure that the name of a new file survives a crash. Nothing is to be done: `FlushFileBuffers` of the file brings
/// its name to the storage, too, and a directory cannot be flushed.
///
/// # Errors
/// None on this system.
pub(crate) fn sync_name(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Takes a lock that lasts as long as the handle is open, without waiting. It is on a byte that no file has, since locks
/// keep others from reading here.
///
/// # Errors
/// `EACCES` when another handle of the file has it.
pub(crate) fn lock_whole(fd: Borrowed<'_>) -> Result<(), Errno> {
    // SAFETY: plain data; zero is what it has to be but for the offset.
    let mut place: OVERLAPPED = unsafe { core::mem::zeroed() };
    place.Anonymous.Anonymous.OffsetHigh = 0x4000_0000;
    let flags = w::LOCKFILE_EXCLUSIVE_LOCK | w::LOCKFILE_FAIL_IMMEDIATELY;
    // SAFETY: `place` lives through the call, which does not wait: the handle is synchronous.
    let done = unsafe { w::LockFileEx(fd.as_raw_handle(), flags, 0, 1, 0, &raw mut place) };
    if done == 0 { Err(Errno::last()) } else { Ok(()) }
}

/// A hint for other systems.
pub(crate) fn begin_writing(_: Borrowed<'_>, _off: u64, _len: u64) {}

/// Gives a file its room on the storage. It has it: file systems of Windows allocate what is inside the length, unless
/// the file was made sparse.
///
/// # Errors
/// None on this system.
pub(crate) fn allocate(_: Borrowed<'_>, _len: u64) -> Result<(), Errno> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned_by(sid: &str) -> Owner {
        Owner(Descriptor::of_text(&format!("O:{sid}D:(A;;GA;;;WD)")).unwrap())
    }

    #[test]
    fn only_who_could_write_a_file_may_speak_for_it() {
        let (guest, guests, system, administrators) =
            (owned_by("S-1-5-21-1-2-3-1001"), owned_by("BG"), owned_by("SY"), owned_by("BA"));
        assert!(guest.may_speak_for(&guest));
        assert!(!guest.may_speak_for(&guests) && !guests.may_speak_for(&system));
        assert!(system.may_speak_for(&guest) && administrators.may_speak_for(&guest));
        let ours = Owner::this_user().unwrap();
        assert!(ours.may_speak_for(&guest) && !guest.may_speak_for(&ours));
    }

    #[test]
    fn a_file_beside_another_is_found_locked_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(open(&path, true).unwrap().is_none());
        let like = Owner::this_user().unwrap();
        let made = make_like(&path, &like).unwrap();
        assert!(owner(made.as_handle()).unwrap().may_speak_for(&like));
        assert_eq!(make_like(&path, &like).unwrap_err(), Errno::EXIST);
        lock_whole(made.as_handle()).unwrap();
        let again = open(&path, true).unwrap().unwrap();
        assert!(lock_whole(again.as_handle()).is_err());
        drop(made);
        lock_whole(again.as_handle()).unwrap();
        assert!(is_named(again.as_handle(), &path).unwrap());
        std::fs::rename(&path, dir.path().join("other")).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(!is_named(again.as_handle(), &path).unwrap());
        drop(again);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
