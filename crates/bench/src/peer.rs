//! A child process that does what it is asked, a word a line, and answers with numbers.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The child, and the pipes to it.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    /// `None` only while being dropped.
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start(mut command: Command) -> Result<Peer> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let to = child.stdin.take();
        let from = child.stdout.take().context("a child without the pipe that was asked for")?;
        Ok(Peer { child, to, from: BufReader::new(from) })
    }

    /// Has something done, and returns the numbers that are the answer.
    pub(crate) fn ask(&mut self, what: &str) -> Result<Vec<f64>> {
        let to = self.to.as_mut().context("a child that has ended")?;
        // A child that is gone has said why on stderr.
        let sent = writeln!(to, "{what}");
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        if line.is_empty() {
            bail!("a child ended: {}", self.child.wait()?);
        }
        sent?;
        serde_json::from_str(&line).with_context(|| format!("a child answered {line:?}"))
    }
}

/// The child's part: a line of numbers for each line of input.
pub(crate) fn serve(mut answer: impl FnMut(&str) -> Result<Vec<f64>>) -> Result<()> {
    for line in std::io::stdin().lines() {
        let numbers = answer(&line?)?;
        println!("{}", serde_json::to_string(&numbers)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The child ends at the end of its input.
        drop(self.to.take());
        let _ = self.child.wait();
    }
}
