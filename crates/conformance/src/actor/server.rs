//! The actor's side of the socket.

use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Command;

use super::answers::number;
use super::{Answer, Ask, ForkBy, calls, ends, threads, ways};
use crate::calls::Errno;

/// Connects to the test and does what it asks, until it lets go.
pub(super) fn serve(socket: &str) {
    let mut stream = connect(socket);
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle to the socket"));
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let ask: Ask = serde_json::from_str(&line).expect("something to do");
        let answer = match ask {
            Ask::Fork { by } => match fork(by) {
                // The parent's socket must not live on here: its end tells the test of the parent's.
                None => {
                    drop((stream, lines));
                    return serve(socket);
                }
                Some(pid) => pid,
            },
            Ask::Spawn => spawn(socket),
            Ask::End(how) => return ends::end(how, socket),
            other => answer(other),
        };
        let mut text = serde_json::to_vec(&answer).expect("an answer is plain data");
        text.push(b'\n');
        if stream.write_all(&text).is_err() {
            return;
        }
    }
}

fn connect(socket: &str) -> UnixStream {
    let address = SocketAddr::from_abstract_name(socket).expect("a name for a socket");
    let mut stream = UnixStream::connect_addr(&address).expect("the test's socket");
    writeln!(stream, "{}", std::process::id()).expect("telling the test who this is");
    stream
}

/// `None` in the child.
fn fork(by: ForkBy) -> Option<Answer> {
    let pid = match by {
        // SAFETY: an actor that forks has one thread, so that its child may go on as it likes.
        ForkBy::Fork => unsafe { libc::fork() },
        ForkBy::Clone => match threads::clone(serve) {
            Ok(pid) => pid,
            Err(Errno(error)) => return Some(Answer::Errno(error)),
        },
        // SAFETY: as for `fork`; neither has arguments that point to anything.
        #[cfg(target_arch = "x86_64")]
        ForkBy::ForkByNumber => unsafe { libc::syscall(libc::SYS_fork) as i32 },
        // SAFETY: as above; without a stack the child goes on with a copy of this one.
        _ => unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32 },
    };
    match pid {
        0 => {
            super::watchdog();
            None
        }
        -1 => Some(Answer::Errno(Errno::last().0)),
        pid => Some(Answer::Number(pid.into())),
    }
}

#[allow(clippy::zombie_processes)] // whoever asked for it has it reaped by its number
fn spawn(socket: &str) -> Answer {
    let program = std::env::current_exe().expect("a program knows where it is");
    let child = Command::new(program).args(["serve", socket]).spawn().expect("starting another actor");
    Answer::Number(child.id().into())
}

fn answer(ask: Ask) -> Answer {
    match ask {
        Ask::Read { by, path, off, len } => ways::read(by, &path, off, len),
        Ask::Pread { fd, off, len } => ways::pread(fd, off, len),
        Ask::Pwrite { fd, off, bytes } => {
            number(crate::calls::pwrite(fd, bytes.as_ptr() as usize, bytes.len(), off as i64))
        }
        Ask::Write { by, path, off, bytes } => number(ways::write(by, &path, off, &bytes)),
        Ask::Resize { by, path, len } => number(ways::resize(by, &path, len)),
        Ask::Flush { by, path } => number(ways::flush(by, &path)),
        Ask::Times { by, path, seconds } => number(ways::set_times(by, &path, seconds)),
        Ask::InitMutex { addr } => number(threads::init_mutex(addr)),
        Ask::AddLocked { mutex, counter, times, threads } => {
            number(threads::add_locked(mutex, counter, times, threads))
        }
        Ask::AddAtomic { counter, times, threads } => number(threads::add_atomic(counter, times, threads)),
        Ask::Turns { word, mine, theirs, times } => number(threads::turns(word, mine, theirs, times)),
        Ask::Hammer(hammer) => threads::hammer(&hammer),
        Ask::Digest { addr, len } => Answer::Number(threads::digest(addr, len)),
        other => calls::answer(other),
    }
}
