//! A child process that measures one contender, seen from the parent.

use crate::args::Options;
use crate::task::{Reply, Task};
use anyhow::{Context, Result, bail};
use mapback_bench::Contender;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The child, and the pipes to it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) contender: Contender,
    child: Child,
    /// `None` only while being dropped.
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Session {
    /// Starts a child, and returns when it has made its file and mapped it, with what it found out then.
    pub(crate) fn start(contender: Contender, options: &Options) -> Result<(Session, Reply)> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(program)
            .arg("--worker")
            .arg(contender.name())
            .arg("--dir")
            .arg(&options.dir)
            .arg("--size")
            .arg(options.size().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start a process for {contender}"))?;
        let to = child.stdin.take();
        let from =
            BufReader::new(child.stdout.take().context("a child without the pipe that was asked for")?);
        let mut session = Session { contender, child, to, from };
        let ready = session.answer()?;
        Ok((session, ready))
    }

    /// Has something measured.
    pub(crate) fn ask(&mut self, task: &Task) -> Result<Reply> {
        let mut line = serde_json::to_vec(task)?;
        line.push(b'\n');
        let to = self.to.as_mut().context("a session that has ended")?;
        // A child that is gone has said why on stderr; what remains is to say who it was.
        let sent = to.write_all(&line);
        self.answer().and_then(|reply| Ok(sent.map(|()| reply)?))
    }

    fn answer(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the process of {} ended: {}", self.contender, self.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("{} answered {line:?}", self.contender))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The child ends at the end of its input.
        drop(self.to.take());
        let _ = self.child.wait();
    }
}
