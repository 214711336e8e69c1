//! Linux, by raw system calls: no libc symbol is called, so that an interposer built on this can neither
//! call itself nor wait for a lock of the C library.

pub(crate) mod chain;
pub(crate) mod companion;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod locks;
pub(crate) mod mem;
pub(crate) mod neighbour;
pub(crate) mod ofd;
pub(crate) mod pagemap;
pub(crate) mod racy;
pub(crate) mod raw;
pub(crate) mod region;
pub(crate) mod shm;
pub(crate) mod signal;
pub(crate) mod sysv;
pub(crate) mod text;
pub(crate) mod uffd;
pub(crate) mod uring;

/// Lets others run for a moment.
pub(crate) fn relax() {
    rustix::thread::sched_yield();
}

/// The size of a page in bytes.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}

/// The process that is running this line (not cached: a fork must show).
pub(crate) fn pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Whether this process has no other thread; where that cannot be told, it has.
pub(crate) fn is_single_threaded() -> bool {
    // Two links of the directory are its own.
    rustix::fs::stat(c"/proc/self/task").is_ok_and(|st| st.st_nlink == 3)
}

/// The user whose rights this process has.
pub(crate) fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Lets others run for a millisecond.
pub(crate) fn wait_a_millisecond() {
    let _ = rustix::thread::nanosleep(&rustix::fs::Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
}
