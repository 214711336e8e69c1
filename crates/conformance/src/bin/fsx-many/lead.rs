//! The process that starts the others, keeps them in step, and looks at what they left.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use crate::plan::{FILE, KILLED, Plan, WORKERS};

/// Creates the file, and lets the processes work on it.
pub fn run(dir: &Path, plan: &Plan, words: &[String]) -> Result<(), String> {
    let path = dir.join(FILE);
    fs::write(&path, plan.initial()).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    let mut workers = Vec::new();
    for index in 0..WORKERS {
        workers.push(Worker::start(dir, plan, words, index)?);
    }
    let stepped = keep_in_step(plan, &mut workers);
    if stepped.is_err() {
        // One has told why on standard error; the others would wait for it for ever.
        workers.iter_mut().for_each(|worker| drop(worker.child.kill()));
    }
    let ends = workers.into_iter().map(Worker::end).collect::<Vec<_>>();
    stepped?;
    ends.into_iter().collect::<Result<(), _>>()?;
    check(dir, plan)?;
    println!(
        "All operations completed: {} by {WORKERS} processes in {} phases",
        u64::from(plan.phases) * u64::from(plan.operations) * WORKERS as u64,
        plan.phases
    );
    Ok(())
}

/// Compares the file with what must be there.
pub fn check(dir: &Path, plan: &Plan) -> Result<(), String> {
    let path = dir.join(FILE);
    let found = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let expected = plan.content_at_end();
    if found.len() != expected.len() {
        return Err(format!("at the end the file has {} bytes, not {}", found.len(), expected.len()));
    }
    let differing: Vec<_> = (0..found.len()).filter(|at| found[*at] != expected[*at]).collect();
    match differing.first() {
        None => Ok(()),
        Some(first) => {
            let owner = (0..WORKERS).find(|w| plan.ranges(*w).iter().any(|range| range.contains(first)));
            Err(format!(
                "at the end {} bytes of the file are wrong, the first of them byte {first} of process {}",
                differing.len(),
                owner.expect("every byte has an owner")
            ))
        }
    }
}

fn keep_in_step(plan: &Plan, workers: &mut [Worker]) -> Result<(), String> {
    for step in 0..plan.barriers() {
        for worker in &mut *workers {
            let gone = |_| format!("process {} is gone at step {step}", worker.index);
            worker.arrivals.read_exact(&mut [0]).map_err(gone)?;
        }
        for worker in &mut *workers {
            let gone = |_| format!("process {} is gone at step {step}", worker.index);
            worker.words.write_all(b".").map_err(gone)?;
        }
    }
    Ok(())
}

struct Worker {
    index: usize,
    child: Child,
    words: ChildStdin,
    arrivals: ChildStdout,
}

impl Worker {
    fn start(dir: &Path, plan: &Plan, words: &[String], index: usize) -> Result<Worker, String> {
        let own = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
        let numbers = [plan.seed, plan.phases.into(), plan.operations.into(), index as u64];
        let mut command = match words.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(own);
                command
            }
            None => Command::new(own),
        };
        command.arg("work").arg(dir).args(numbers.map(|number| number.to_string()));
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let (Some(words), Some(arrivals)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked for as pipes");
        };
        Ok(Worker { index, child, words, arrivals })
    }

    fn end(mut self) -> Result<(), String> {
        let status =
            self.child.wait().map_err(|error| format!("waiting for process {}: {error}", self.index))?;
        // `mapback run` ends as its program did, or with the status that a shell would tell.
        let good = if self.index == KILLED { was_killed(status) } else { status.success() };
        if good { Ok(()) } else { Err(format!("process {} ended with {status}", self.index)) }
    }
}

fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(libc::SIGKILL) || status.code() == Some(128 + libc::SIGKILL)
}
