//! The program as a child: signals passed on, stops and continues mirrored, its death re-enacted.
//!
//! All signals are blocked and read one by one from a signalfd: nothing runs in a handler and none is missed between
//! two calls.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, WaitOptions, WaitStatus};

/// `si_code` of a signal that the kernel sent, such as a terminal's Ctrl-C.
const SI_KERNEL: i32 = 0x80;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit status.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

impl End {
    /// Ends this process in the same way.
    pub fn reenact(self) -> ExitCode {
        match self {
            End::Exited(status) => ExitCode::from(status),
            End::Killed(signal) => die_of(signal),
        }
    }
}

/// The signal state that mapback was started with and the program shall start with, too.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    mask: SigSet,
    sigpipe_ignored: bool,
}

impl Inherited {
    /// To be asked for before anything is blocked.
    pub fn get() -> io::Result<Self> {
        Ok(Inherited { mask: SigSet::thread_get_mask()?, sigpipe_ignored: sigpipe::was_ignored() })
    }

    /// Has `command` start its program in this state. std resets both, without regard for what was inherited.
    fn restore_in(self, command: &mut Command, die_with: Option<Pid>) {
        let start = move || {
            if self.sigpipe_ignored {
                // SAFETY: SIG_IGN is no handler that could run.
                unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
            }
            if let Some(parent) = die_with {
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
            }
            self.mask.thread_set_mask()?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(start) };
    }
}

/// Starts the program, then what is to run `beside` it, and sees it to its end. Tells its process id, too.
pub fn supervise<T>(
    command: &mut Command,
    inherited: Inherited,
    beside: impl FnOnce() -> T,
) -> io::Result<(u32, End, T)> {
    // A killed mapback takes the program with it: whoever kills the one means the other.
    inherited.restore_in(command, Some(rustix::process::getpid()));
    SigSet::all().thread_block()?;
    let watched = watch(command, beside);
    inherited.mask.thread_set_mask()?;
    watched
}

fn watch<T>(command: &mut Command, beside: impl FnOnce() -> T) -> io::Result<(u32, End, T)> {
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC)?;
    let child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let beside = beside();
    loop {
        match signals.read_signal() {
            Ok(Some(info)) if info.ssi_signo == libc::SIGCHLD as u32 => {
                if let Some(end) = reap(pid)? {
                    return Ok((child.id(), end, beside));
                }
            }
            Ok(Some(info)) if is_for_program(info.ssi_signo as i32, info.ssi_code, info.ssi_pid, pid) => {
                // SAFETY: sends a signal to our child, which is not reaped yet, so the process id is still its own.
                unsafe { libc::kill(pid.as_raw_nonzero().get(), info.ssi_signo as i32) };
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Takes in all that happened to the child; `Some` once it has ended.
fn reap(pid: Pid) -> io::Result<Option<End>> {
    while let Some((_, status)) =
        rustix::process::waitpid(Some(pid), WaitOptions::NOHANG | WaitOptions::UNTRACED)?
    {
        if let Some(end) = end_of(status) {
            return Ok(Some(end));
        }
        if let Some(signal) = status.stopping_signal() {
            // So the shell sees its job stop. Once continued, we find a SIGCONT among our signals and pass it on.
            raise_default(signal);
        }
    }
    Ok(None)
}

fn end_of(status: WaitStatus) -> Option<End> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(End::Exited(code as u8)),
        (_, Some(signal)) => Some(End::Killed(signal)),
        _ => None,
    }
}

/// Whether a signal that reached mapback is to be passed on.
///
/// What the terminal sends goes to the whole foreground group, the program included, which must not get it twice. Only
/// a hang-up goes to the session's leader alone. What the program itself sends (to its group, say) is not sent back.
fn is_for_program(signal: i32, code: i32, sender: u32, child: Pid) -> bool {
    if code != SI_KERNEL {
        return sender != child.as_raw_nonzero().get() as u32;
    }
    match signal {
        libc::SIGALRM => true, // a timer that was set before mapback was exec'ed
        libc::SIGHUP | libc::SIGCONT => rustix::process::getsid(None) == Ok(rustix::process::getpid()),
        _ => false,
    }
}

/// The signal's name, as kill(1) knows it.
pub fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

/// Dies of `signal`, as the program did, without a core of our own.
fn die_of(signal: i32) -> ExitCode {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    let none = rustix::process::Rlimit { current: Some(0), maximum: limit.maximum };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    // A core_pattern that is a pipe does not ask for the limit.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    raise_default(signal);
    ExitCode::from(128 + (signal & 0x7f) as u8) // for a signal that does not kill us: what a shell would say
}

/// Has this process end quietly when the reader of its output has gone, which Rust's runtime prevents.
pub fn end_with_the_pipe() {
    // SAFETY: SIG_DFL is no handler that could run.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

/// Sends `signal` to this thread with its default action, unblocked meanwhile.
fn raise_default(signal: i32) {
    let mut set: libc::sigset_t = *SigSet::empty().as_ref();
    // SAFETY: `set` is an initialised signal set; SIG_DFL is no handler; the calls fail harmlessly for a bad number.
    unsafe {
        libc::sigaddset(&mut set, signal);
        libc::signal(signal, libc::SIG_DFL);
    }
    // SAFETY: `sigaddset` above keeps the set initialised.
    let set = unsafe { SigSet::from_sigset_t_unchecked(set) };
    let before = set.thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
    // SAFETY: the signal's action is the default one: no code of ours runs.
    unsafe { libc::raise(signal) };
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
}

/// Whether SIGPIPE was ignored when mapback started: Rust's runtime ignores it before `main`, whatever it was.
mod sigpipe {
    use std::sync::atomic::{AtomicBool, Ordering};

    static IGNORED: AtomicBool = AtomicBool::new(false);

    // SAFETY: `.init_array` holds pointers to functions that the loader calls before `main`; `look` is one.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: all-zero bytes are a valid `sigaction` structure.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: with no new action given, the call only fills in `action`.
        if unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), &mut action) } == 0 {
            IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
        }
    }

    pub fn was_ignored() -> bool {
        IGNORED.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SI_USER: i32 = 0;
    const SI_QUEUE: i32 = -1;

    #[test]
    fn the_terminals_signals_and_the_programs_own_are_not_passed_on() {
        let child = Pid::from_raw(77).unwrap();
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH, libc::SIGTTOU] {
            assert!(!is_for_program(signal, SI_KERNEL, 0, child), "{signal} from the terminal");
            assert!(!is_for_program(signal, SI_USER, 77, child), "{signal} from the program");
            assert!(is_for_program(signal, SI_USER, 78, child), "{signal} from another process");
            assert!(is_for_program(signal, SI_QUEUE, 78, child), "{signal} from another process");
        }
        assert!(is_for_program(libc::SIGALRM, SI_KERNEL, 0, child));
        assert!(is_for_program(libc::SIGTERM, SI_USER, 0, child), "from outside of this container");
    }
}
