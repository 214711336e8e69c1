//! Other calls by which the kernel writes into the program's memory: memory that the `fault` tracker armed must be
//! opened for it first (L13). With every other tracker each of these is one load and a jump.

use crate::next::next;
use core::ffi::c_char;
use libc::{
    c_int, c_ulong, c_void, epoll_event, id_t, idtype_t, iovec, nfds_t, pid_t, pollfd, rusage, siginfo_t,
    size_t, sockaddr, socklen_t, ssize_t, timespec, utsname,
};
use mapback::raw::{self, Held};

type Stat = libc::stat64;
type StatFs = libc::statfs64;
type StatX = libc::statx;

/// Opens an array of `n` values for the kernel.
fn open<T>(at: *mut T, n: usize) -> Option<Held> {
    let at = at as usize;
    raw::hold(at..at.saturating_add(n.saturating_mul(size_of::<T>())))
}

/// Exports functions that hold memory over the next definition's call.
macro_rules! filling {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty, $($at:ident[$n:expr]),+;)*) => {
        next! { $(fn $name($($arg: $ty),*) -> $ret;)* }
        $(
            /// Opens the memory that the call fills, and makes it.
            ///
            /// # Safety
            /// As libc's.
            #[unsafe(no_mangle)]
            unsafe extern "C-unwind" fn $name($($arg: $ty),*) -> $ret {
                if !raw::signal::segv_is_ours() {
                    // SAFETY: the program's own request.
                    return unsafe { real::$name($($arg),*) };
                }
                let held = ($(open($at, $n as usize),)+);
                // SAFETY: the program's own request.
                let done = unsafe { real::$name($($arg),*) };
                drop(held);
                done
            }
        )*
    };
}

/// The longest name that a system call gives.
const PATH: usize = libc::PATH_MAX as usize;

filling! {
    fn fstat64(fd: c_int, buf: *mut Stat) -> c_int, buf[1];
    fn stat64(path: *const c_char, buf: *mut Stat) -> c_int, buf[1];
    fn lstat64(path: *const c_char, buf: *mut Stat) -> c_int, buf[1];
    fn fstatat64(dir: c_int, path: *const c_char, buf: *mut Stat, flags: c_int) -> c_int, buf[1];
    fn fstat(fd: c_int, buf: *mut Stat) -> c_int, buf[1];
    fn stat(path: *const c_char, buf: *mut Stat) -> c_int, buf[1];
    fn lstat(path: *const c_char, buf: *mut Stat) -> c_int, buf[1];
    fn fstatat(dir: c_int, path: *const c_char, buf: *mut Stat, flags: c_int) -> c_int, buf[1];
    fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: u32, buf: *mut StatX) -> c_int, buf[1];
    fn statfs(path: *const c_char, buf: *mut StatFs) -> c_int, buf[1];
    fn fstatfs(fd: c_int, buf: *mut StatFs) -> c_int, buf[1];
    fn statfs64(path: *const c_char, buf: *mut StatFs) -> c_int, buf[1];
    fn fstatfs64(fd: c_int, buf: *mut StatFs) -> c_int, buf[1];
    fn uname(buf: *mut utsname) -> c_int, buf[1];
    fn getcwd(buf: *mut c_char, len: size_t) -> *mut c_char, buf[len.min(PATH)];
    fn readlink(path: *const c_char, buf: *mut c_char, len: size_t) -> ssize_t, buf[len.min(PATH)];
    fn readlinkat(dir: c_int, path: *const c_char, buf: *mut c_char, len: size_t) -> ssize_t, buf[len.min(PATH)];
    fn getentropy(buf: *mut c_void, len: size_t) -> c_int, buf[len];
    fn pipe(fds: *mut c_int) -> c_int, fds[2];
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int, fds[2];
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int, fds[2];
    fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int, fds[n];
    fn epoll_wait(ep: c_int, events: *mut epoll_event, most: c_int, timeout: c_int) -> c_int,
        events[most.max(0)];
    fn epoll_pwait(ep: c_int, events: *mut epoll_event, most: c_int, timeout: c_int, mask: *const libc::sigset_t)
        -> c_int, events[most.max(0)];
    fn wait(status: *mut c_int) -> pid_t, status[1];
    fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t, status[1];
    fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t, status[1], usage[1];
    fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t, status[1], usage[1];
    fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int, info[1];
    fn getrusage(who: c_int, usage: *mut rusage) -> c_int, usage[1];
    fn getsockname(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int, name[ADDRESS], len[1];
    fn getpeername(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int, name[ADDRESS], len[1];
    fn accept(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int, name[ADDRESS], len[1];
    fn accept4(fd: c_int, name: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int, name[ADDRESS], len[1];
    fn nanosleep(wanted: *const timespec, left: *mut timespec) -> c_int, left[1];
}

/// The longest socket address, in units of `sockaddr`.
const ADDRESS: usize = 128 / size_of::<sockaddr>();

mod vectors {
    use super::*;

    next! {
        fn process_vm_readv(pid: pid_t, local: *const iovec, n: c_ulong, remote: *const iovec, m: c_ulong,
            flags: c_ulong) -> ssize_t;
    }

    /// Opens the local memory that the call fills, and makes it.
    ///
    /// # Safety
    /// As libc's.
    #[unsafe(no_mangle)]
    unsafe extern "C-unwind" fn process_vm_readv(
        pid: pid_t,
        local: *const iovec,
        n: c_ulong,
        remote: *const iovec,
        m: c_ulong,
        flags: c_ulong,
    ) -> ssize_t {
        // SAFETY: the program's own vectors.
        let held = unsafe { crate::reads::open_all(local, n as c_int) };
        // SAFETY: the program's own request.
        let done = unsafe { real::process_vm_readv(pid, local, n, remote, m, flags) };
        drop(held);
        done
    }
}
