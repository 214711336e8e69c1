//! A direct_io mount for the length of a test.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;

use crate::passthrough::{WriteFault, WriteTotals};
use crate::server_program;

/// How long a server may take to unmount before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A directory shown through FUSE with direct_io, at a mount point of its own, until dropped.
///
/// A process of its own serves it: a process that waits for its own FUSE server while it holds a lock would
/// wait for ever.
#[derive(Debug)]
pub struct DirectIoMount {
    mountpoint: PathBuf,
    server: Child,
    control: Mutex<Control>,
    owner: u32,
}

#[derive(Debug)]
struct Control {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl DirectIoMount {
    /// Mounts `source` at a new temporary directory.
    pub fn new(source: &Path) -> io::Result<DirectIoMount> {
        let program = server_program::find()?;
        // Kept, and removed by hand: a recursive removal through a live mount would empty the source.
        let mountpoint = tempfile::Builder::new().prefix("mapback-directio-").tempdir()?.keep();
        let started = start(&program, source, &mountpoint);
        if started.is_err() {
            let _ = fs::remove_dir(&mountpoint);
        }
        let (server, control) = started?;
        Ok(DirectIoMount { mountpoint, server, control: Mutex::new(control), owner: std::process::id() })
    }

    /// Where the source is shown.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// The process that serves the mount.
    pub fn server_pid(&self) -> u32 {
        self.server.id()
    }

    /// From now on `write` and `fallocate` on the mount fail as `fault` says.
    pub fn fail_writes(&self, fault: WriteFault) -> io::Result<()> {
        self.command(&format!("fail {fault}")).map(drop)
    }

    /// From now on writes on the mount succeed again.
    pub fn heal_writes(&self) -> io::Result<()> {
        self.command("heal").map(drop)
    }

    /// How much has been written through the mount so far.
    pub fn totals(&self) -> io::Result<WriteTotals> {
        let answer = self.command("stats")?;
        let mut numbers = answer.split_whitespace().map_while(|number| number.parse().ok());
        let mut next = || numbers.next().ok_or_else(|| unexpected("stats", &answer));
        Ok(WriteTotals { writes: next()?, bytes: next()?, failed: next()? })
    }

    fn command(&self, command: &str) -> io::Result<String> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(control.commands, "{command}")?;
        let mut answer = String::new();
        control.answers.read_line(&mut answer)?;
        match answer.trim().strip_prefix("ok") {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(unexpected(command, &answer)),
        }
    }

    fn stop(&mut self) {
        let control = self.control.get_mut().unwrap_or_else(PoisonError::into_inner);
        // By command: a forked child may still hold our end of the pipe open. A server that is gone needs none.
        let _ = writeln!(control.commands, "stop");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.server.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for DirectIoMount {
    fn drop(&mut self) {
        // A forked child that unwinds must leave its parent's mount alone.
        if std::process::id() != self.owner {
            return;
        }
        self.stop();
        // Succeeds only if the server was killed before it could unmount.
        if rustix::mount::unmount(&self.mountpoint, UnmountFlags::DETACH) == Err(rustix::io::Errno::PERM) {
            let _ = Command::new("fusermount3").args(["-u", "-q", "-z"]).arg(&self.mountpoint).status();
        }
        if let Err(error) = fs::remove_dir(&self.mountpoint) {
            eprintln!("mapback-testkit: {} is left behind: {error}", self.mountpoint.display());
        }
    }
}

fn start(program: &Path, source: &Path, mountpoint: &Path) -> io::Result<(Child, Control)> {
    let mut server = Command::new(program)
        .arg("--control")
        .args([source, mountpoint])
        // The server of the files must not itself run under the interposer that is being tested.
        .env_remove("LD_PRELOAD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))?;
    let (Some(commands), Some(answers)) = (server.stdin.take(), server.stdout.take()) else {
        unreachable!("both were asked for as pipes");
    };
    let mut control = Control { commands, answers: BufReader::new(answers) };
    let mut line = String::new();
    control.answers.read_line(&mut line)?;
    if line.trim() != "ready" {
        let status = server.wait()?;
        return Err(io::Error::other(format!(
            "{} could not mount {} at {} ({status}): it says why on standard error",
            program.display(),
            source.display(),
            mountpoint.display()
        )));
    }
    Ok((server, control))
}

fn unexpected(command: &str, answer: &str) -> io::Error {
    io::Error::other(format!("mapback-directio answered '{}' to '{command}'", answer.trim()))
}
