//! The two executors: libc's functions (mapback's, when the interposer is loaded) and the kernel's own calls.

use crate::probe::{self, Fault};
use std::io;

/// What is called. The arguments are those of the system call of that name, as words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Mmap,
    Munmap,
    Mprotect,
    Msync,
    Mremap,
    Madvise,
    Mincore,
    Mlock,
    Munlock,
    Openat,
    Close,
    Unlinkat,
    Ftruncate,
    Pread,
    Pwrite,
    Read,
    Write,
    Preadv,
    Pwritev,
    CopyFileRange,
    Fallocate,
    Truncate,
    Lseek,
    Fsync,
    Fdatasync,
}

pub type Args = [usize; 6];
/// The call's result, or `errno`.
pub type Ret = Result<usize, i32>;

/// One of the two executors that are compared.
pub trait Side {
    fn call(&mut self, call: Call, args: Args) -> Ret;

    /// Copies `n` bytes upwards; both ends may be in a map.
    fn copy(&mut self, dst: usize, src: usize, n: usize) -> (usize, Option<Fault>) {
        probe::copy(dst, src, n)
    }

    fn load8(&mut self, src: usize) -> Result<u64, Fault> {
        probe::load8(src)
    }

    fn store8(&mut self, dst: usize, value: u64) -> Result<(), Fault> {
        probe::store8(dst, value)
    }
}

/// The symbols that a C program calls.
pub struct Libc;

impl Side for Libc {
    fn call(&mut self, call: Call, [a, b, c, d, e, f]: Args) -> Ret {
        // SAFETY: the model passes only addresses inside its arenas and islands, its own buffers and descriptors, or
        // arguments that the call must refuse.
        let result = unsafe {
            match call {
                Call::Mmap => libc::mmap(a as _, b, c as _, d as _, e as _, f as _) as isize,
                Call::Munmap => libc::munmap(a as _, b) as isize,
                Call::Mprotect => libc::mprotect(a as _, b, c as _) as isize,
                Call::Msync => libc::msync(a as _, b, c as _) as isize,
                Call::Mremap => libc::mremap(a as _, b, c, d as _, e) as isize,
                Call::Madvise => libc::madvise(a as _, b, c as _) as isize,
                Call::Mincore => libc::mincore(a as _, b, c as _) as isize,
                Call::Mlock => libc::mlock(a as _, b) as isize,
                Call::Munlock => libc::munlock(a as _, b) as isize,
                Call::Openat => libc::openat(a as _, b as _, c as _, d as libc::mode_t) as isize,
                Call::Close => libc::close(a as _) as isize,
                Call::Unlinkat => libc::unlinkat(a as _, b as _, c as _) as isize,
                Call::Ftruncate => libc::ftruncate(a as _, b as _) as isize,
                Call::Pread => libc::pread(a as _, b as _, c, d as _),
                Call::Pwrite => libc::pwrite(a as _, b as _, c, d as _),
                Call::Read => libc::read(a as _, b as _, c),
                Call::Write => libc::write(a as _, b as _, c),
                Call::Preadv => libc::preadv(a as _, b as _, c as _, d as _),
                Call::Pwritev => libc::pwritev(a as _, b as _, c as _, d as _),
                Call::CopyFileRange => libc::copy_file_range(a as _, b as _, c as _, d as _, e, f as _),
                Call::Fallocate => libc::fallocate(a as _, b as _, c as _, d as _) as isize,
                Call::Truncate => libc::truncate(a as _, b as _) as isize,
                Call::Lseek => libc::lseek(a as _, b as _, c as _) as isize,
                Call::Fsync => libc::fsync(a as _) as isize,
                Call::Fdatasync => libc::fdatasync(a as _) as isize,
            }
        };
        returned(result)
    }
}

/// The kernel's system calls, which no interposer sees.
pub struct Kernel;

impl Side for Kernel {
    fn call(&mut self, call: Call, [a, b, c, d, e, f]: Args) -> Ret {
        let number = match call {
            Call::Mmap => libc::SYS_mmap,
            Call::Munmap => libc::SYS_munmap,
            Call::Mprotect => libc::SYS_mprotect,
            Call::Msync => libc::SYS_msync,
            Call::Mremap => libc::SYS_mremap,
            Call::Madvise => libc::SYS_madvise,
            Call::Mincore => libc::SYS_mincore,
            Call::Mlock => libc::SYS_mlock,
            Call::Munlock => libc::SYS_munlock,
            Call::Openat => libc::SYS_openat,
            Call::Close => libc::SYS_close,
            Call::Unlinkat => libc::SYS_unlinkat,
            Call::Ftruncate => libc::SYS_ftruncate,
            Call::Pread => libc::SYS_pread64,
            Call::Pwrite => libc::SYS_pwrite64,
            Call::Read => libc::SYS_read,
            Call::Write => libc::SYS_write,
            Call::Preadv => libc::SYS_preadv,
            Call::Pwritev => libc::SYS_pwritev,
            Call::CopyFileRange => libc::SYS_copy_file_range,
            Call::Fallocate => libc::SYS_fallocate,
            Call::Truncate => libc::SYS_truncate,
            Call::Lseek => libc::SYS_lseek,
            Call::Fsync => libc::SYS_fsync,
            Call::Fdatasync => libc::SYS_fdatasync,
        };
        // SAFETY: as in `Libc`.
        returned(unsafe { libc::syscall(number, a, b, c, d, e, f) } as isize)
    }
}

fn returned(result: isize) -> Ret {
    if result == -1 {
        Err(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        Ok(result as usize)
    }
}
