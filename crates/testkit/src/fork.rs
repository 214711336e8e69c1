//! Children by fork.

/// Forks, runs something in the child, and returns what the child's end said: what `act` returned, or −1 after a panic or
/// a signal. The child has one thread, which must not wait for a lock that another thread of the parent may have.
///
/// # Panics
/// If there can be no child.
pub fn run(act: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs `act`, whose caller keeps to the rule above, and leaves without a destructor of the parent's.
    match unsafe { libc::fork() } {
        -1 => panic!("cannot fork: {}", std::io::Error::last_os_error()),
        0 => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).unwrap_or(255);
            // SAFETY: ends this process.
            unsafe { libc::_exit(done) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is an int.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            let exited = waited == child && libc::WIFEXITED(status);
            if exited && libc::WEXITSTATUS(status) != 255 { libc::WEXITSTATUS(status) } else { -1 }
        }
    }
}
