//! Stopping a process at a system call, so that others can do something just then.

use std::io;

/// A process that this thread traces, stopped. It goes on by itself when this is dropped.
#[derive(Debug)]
pub struct Stopped {
    pid: libc::pid_t,
}

/// A system call: its number and its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Syscall {
    /// The number
    pub number: i64,
    /// What is in the registers; what the call does not have means nothing
    pub args: [u64; 6],
}

impl Stopped {
    /// Stops a process of one thread, wherever it is; a call in which it waits is begun anew when it goes on.
    ///
    /// # Errors
    /// When it may not be traced.
    pub fn anywhere(pid: i32) -> io::Result<Stopped> {
        let options = libc::PTRACE_O_TRACESYSGOOD as usize;
        ask(libc::PTRACE_SEIZE, pid, 0, options)?;
        let stopped = Stopped { pid };
        ask(libc::PTRACE_INTERRUPT, pid, 0, 0)?;
        stopped.wait()?;
        Ok(stopped)
    }

    /// Lets it go on until it is about to make a system call of this kind.
    ///
    /// # Errors
    /// When it ends before.
    pub fn until(&self, is_it: impl Fn(Syscall) -> bool) -> io::Result<()> {
        loop {
            self.go_on()?;
            if self.entering()?.is_some_and(&is_it) {
                return Ok(());
            }
        }
    }

    /// Lets it go on until the system call that it was about to make is done.
    ///
    /// # Errors
    /// When it ends before.
    pub fn until_done(&self) -> io::Result<()> {
        self.go_on()
    }

    /// To its next entry into a system call, or return from one.
    fn go_on(&self) -> io::Result<()> {
        let mut signal = 0;
        loop {
            ask(libc::PTRACE_SYSCALL, self.pid, 0, signal as usize)?;
            let status = self.wait()?;
            match (status >> 8) & 0xff {
                stop if stop == libc::SIGTRAP | 0x80 => return Ok(()),
                // Stops that tracing itself makes have something above.
                _ if status >> 16 != 0 => signal = 0,
                other => signal = other,
            }
        }
    }

    fn entering(&self) -> io::Result<Option<Syscall>> {
        // SAFETY: plain numbers, for which zeros are fine.
        let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::ptrace_syscall_info>();
        ask(libc::PTRACE_GET_SYSCALL_INFO, self.pid, size, (&raw mut info) as usize)?;
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            return Ok(None);
        }
        // SAFETY: what the union holds at an entry.
        let entry = unsafe { info.u.entry };
        Ok(Some(Syscall { number: entry.nr as i64, args: entry.args }))
    }

    fn wait(&self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: `status` is an int.
        if unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) } < 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::WIFSTOPPED(status) { Ok(status) } else { Err(io::Error::other("it has ended")) }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = ask(libc::PTRACE_DETACH, self.pid, 0, 0);
    }
}

fn ask(what: libc::c_uint, pid: libc::pid_t, addr: usize, data: usize) -> io::Result<()> {
    // SAFETY: the only request with a pointer has a live one of the size that it names.
    let done = unsafe { libc::ptrace(what, pid, addr, data) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
