//! System calls by number, for what must be passed on exactly as the program gave it.

use rustix::io::Errno;
pub use syscalls::Sysno;

/// Makes a system call with up to six arguments and turns the kernel's −4095…−1 into an [`Errno`].
///
/// # Safety
/// The call's own contract: pointers among `args` must be valid for what call `nr` does with them.
pub(crate) unsafe fn call(nr: Sysno, args: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: passed on.
    unsafe { call_number(nr as usize, args) }
}

/// As [`call`], by the plain number.
///
/// # Safety
/// As [`call`].
pub(crate) unsafe fn call_number(nr: usize, args: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the caller vouches for the arguments; the instruction itself clobbers only what the crate declares.
    let ret = unsafe { syscalls::raw::syscall6(nr, a, b, c, d, e, f) } as isize;
    if (-4095..0).contains(&ret) { Err(Errno::from_raw_os_error(-ret as i32)) } else { Ok(ret as usize) }
}
