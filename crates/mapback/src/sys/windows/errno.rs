//! POSIX error numbers, with the values of Microsoft's C run-time library, and what Win32's mean in their terms.

use core::fmt;
use std::io::{self, ErrorKind};
use windows_sys::Win32::Foundation as w;

/// An error number, as `<errno.h>` has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal;)+) => {
        impl Errno {
            $(
                #[doc = concat!("`E", stringify!($name), "`")]
                pub const $name: Errno = Errno($number);
            )+

            fn text(self) -> Option<(&'static str, &'static str)> {
                match self.0 {
                    $($number => Some((concat!("E", stringify!($name)), $text)),)+
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    PERM = 1, "operation not permitted";
    NOENT = 2, "no such file or directory";
    INTR = 4, "interrupted call";
    IO = 5, "input/output error";
    NXIO = 6, "no such device or address";
    BADF = 9, "bad file descriptor";
    AGAIN = 11, "resource temporarily unavailable";
    NOMEM = 12, "not enough memory";
    ACCESS = 13, "permission denied";
    FAULT = 14, "bad address";
    BUSY = 16, "device or resource busy";
    EXIST = 17, "file exists";
    NODEV = 19, "no such device";
    INVAL = 22, "invalid argument";
    MFILE = 24, "too many open files";
    FBIG = 27, "file too large";
    NOSPC = 28, "no space left on the device";
    ROFS = 30, "read-only file system";
    NOSYS = 40, "function not implemented";
    NOTSUP = 129, "not supported";
    OVERFLOW = 132, "value too large";
}

impl Errno {
    /// The error of a number.
    pub fn from_raw_os_error(number: i32) -> Errno {
        Errno(number)
    }

    /// The number.
    pub fn raw_os_error(self) -> i32 {
        self.0
    }

    /// What the last Win32 call of this thread failed with.
    pub(crate) fn last() -> Errno {
        // SAFETY: reads a number of this thread's own.
        Errno::of(unsafe { w::GetLastError() })
    }

    /// A Win32 error in POSIX terms. What has no counterpart is an `EIO`.
    pub(crate) fn of(error: u32) -> Errno {
        match error {
            w::ERROR_FILE_NOT_FOUND | w::ERROR_PATH_NOT_FOUND | w::ERROR_BAD_NETPATH => Errno::NOENT,
            w::ERROR_TOO_MANY_OPEN_FILES => Errno::MFILE,
            w::ERROR_ACCESS_DENIED
            | w::ERROR_SHARING_VIOLATION
            | w::ERROR_LOCK_VIOLATION
            | w::ERROR_NETWORK_ACCESS_DENIED => Errno::ACCESS,
            w::ERROR_INVALID_HANDLE => Errno::BADF,
            w::ERROR_NOT_ENOUGH_MEMORY
            | w::ERROR_OUTOFMEMORY
            | w::ERROR_COMMITMENT_LIMIT
            | w::ERROR_COMMITMENT_MINIMUM
            | w::ERROR_NO_SYSTEM_RESOURCES
            | w::ERROR_WORKING_SET_QUOTA
            | w::ERROR_PAGEFILE_QUOTA => Errno::NOMEM,
            w::ERROR_WRITE_PROTECT => Errno::ROFS,
            w::ERROR_DISK_FULL | w::ERROR_HANDLE_DISK_FULL | w::ERROR_DISK_QUOTA_EXCEEDED => Errno::NOSPC,
            w::ERROR_INVALID_PARAMETER | w::ERROR_INVALID_ADDRESS | w::ERROR_NEGATIVE_SEEK => Errno::INVAL,
            w::ERROR_NOACCESS => Errno::FAULT,
            w::ERROR_FILE_TOO_LARGE => Errno::FBIG,
            w::ERROR_NOT_SUPPORTED | w::ERROR_INVALID_FUNCTION | w::ERROR_CALL_NOT_IMPLEMENTED => {
                Errno::NOTSUP
            }
            w::ERROR_BUSY => Errno::BUSY,
            w::ERROR_ALREADY_EXISTS | w::ERROR_FILE_EXISTS => Errno::EXIST,
            _ => Errno::IO,
        }
    }
}

impl Errno {
    /// What std calls it.
    pub fn kind(self) -> ErrorKind {
        match self {
            Errno::PERM | Errno::ACCESS => ErrorKind::PermissionDenied,
            Errno::NOENT => ErrorKind::NotFound,
            Errno::INTR => ErrorKind::Interrupted,
            Errno::AGAIN => ErrorKind::WouldBlock,
            Errno::NOMEM => ErrorKind::OutOfMemory,
            Errno::BUSY => ErrorKind::ResourceBusy,
            Errno::EXIST => ErrorKind::AlreadyExists,
            Errno::INVAL => ErrorKind::InvalidInput,
            Errno::FBIG => ErrorKind::FileTooLarge,
            Errno::NOSPC => ErrorKind::StorageFull,
            Errno::ROFS => ErrorKind::ReadOnlyFilesystem,
            Errno::NOSYS | Errno::NOTSUP => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        }
    }
}

impl From<Errno> for io::Error {
    /// The error as a value of its own: its number is none of the system's, as those in an [`io::Error`] are.
    fn from(errno: Errno) -> io::Error {
        io::Error::new(errno.kind(), errno)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some((name, text)) => write!(f, "{text} ({name})"),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_win32_error_that_a_program_meets_has_its_posix_meaning() {
        assert_eq!(Errno::of(w::ERROR_ACCESS_DENIED), Errno::ACCESS);
        assert_eq!(Errno::of(w::ERROR_DISK_FULL), Errno::NOSPC);
        assert_eq!(Errno::of(w::ERROR_COMMITMENT_LIMIT), Errno::NOMEM);
        assert_eq!(Errno::of(0xdead), Errno::IO);
        assert_eq!(Errno::NOMEM.to_string(), "not enough memory (ENOMEM)");
    }

    #[test]
    fn a_full_disk_is_one_to_std_too() {
        let error = io::Error::from(Errno::of(w::ERROR_DISK_FULL));
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(error.to_string().contains("ENOSPC"), "{error}");
    }
}
