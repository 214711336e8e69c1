//! Ending a program between any two of its system calls.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The signal by which [`begin`] speaks to its tracer.
const BEGIN: i32 = libc::SIGUSR1;

/// Tells [`run`], which traces this process, that the part which counts begins here.
pub fn begin() {
    // SAFETY: the signal stops this thread for its tracer, which takes it away.
    unsafe { libc::raise(BEGIN) };
}

/// Runs a program that calls [`begin`]. It is killed at the `nth` entry to or return from a system call, of any thread,
/// after that. Returns how many there were until it was killed or ended.
///
/// # Errors
/// When it cannot be started or traced, or did not end well by itself.
pub fn run(command: &mut Command, nth: usize) -> io::Result<usize> {
    traced(command, nth, false)
}

/// As [`run`], for a program that knows nothing of this: the count begins when it does, and it may end as it likes.
///
/// # Errors
/// When it cannot be started or traced.
pub fn run_any(command: &mut Command, nth: usize) -> io::Result<usize> {
    traced(command, nth, true)
}

fn traced(command: &mut Command, nth: usize, any: bool) -> io::Result<usize> {
    let prepare = || {
        // SAFETY: both are plain system calls. A group of its own lets us wait for its threads and for no others.
        let ready =
            unsafe { libc::setpgid(0, 0) == 0 && libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize) == 0 };
        if ready { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only the two system calls above are made.
    unsafe { command.pre_exec(prepare) };
    let mut child = command.spawn()?;
    let pid = child.id() as libc::pid_t;
    let result = trace(pid, nth, any);
    let _ = child.kill();
    // The first thread can be waited for only after all others.
    while wait(pid).is_ok() {}
    let _ = child.wait();
    result
}

/// Waits for a stop or an end of any thread of the group.
fn wait(group: libc::pid_t) -> io::Result<(libc::pid_t, i32)> {
    let mut status = 0;
    // SAFETY: `status` is an int.
    let thread = unsafe { libc::waitpid(-group, &raw mut status, libc::__WALL) };
    if thread < 0 { Err(io::Error::last_os_error()) } else { Ok((thread, status)) }
}

fn trace(pid: libc::pid_t, nth: usize, any: bool) -> io::Result<usize> {
    const SYSCALL: i32 = libc::SIGTRAP | 0x80;
    let (mut started, mut counting, mut stops) = (false, any, 0);
    loop {
        let (thread, status) = wait(pid)?;
        if !libc::WIFSTOPPED(status) {
            let good = libc::WIFEXITED(status) && (any || libc::WEXITSTATUS(status) == 0);
            match (thread == pid, good) {
                (true, true) => return Ok(stops),
                (true, false) => return Err(io::Error::other(format!("the program ended with {status:#x}"))),
                (false, _) => continue,
            }
        }
        if !started {
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            tell(libc::PTRACE_SETOPTIONS, thread, options)?;
            started = true;
        }
        let mut pass_on = 0;
        match libc::WSTOPSIG(status) {
            SYSCALL if counting => {
                stops += 1;
                if stops == nth {
                    return Ok(stops);
                }
            }
            BEGIN => counting = true,
            // Stops of a new thread, of exec, and of a system call before it counts.
            SYSCALL | libc::SIGTRAP | libc::SIGSTOP => {}
            signal => pass_on = signal,
        }
        tell(if counting { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT }, thread, pass_on)?;
    }
}

fn tell(what: libc::c_uint, thread: libc::pid_t, data: i32) -> io::Result<()> {
    // SAFETY: the thread is stopped, and ours to trace; these requests take no pointer, but two words of its size.
    if unsafe { libc::ptrace(what, thread, 0usize, data as usize) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
