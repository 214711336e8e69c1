//! Linux, by raw system calls: no libc symbol is called, so that an interposer built on this can neither
//! call itself nor wait for a lock of the C library.

pub(crate) mod chain;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod locks;
pub(crate) mod mem;
pub(crate) mod pagemap;
pub(crate) mod raw;
pub(crate) mod shm;
pub(crate) mod signal;
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
