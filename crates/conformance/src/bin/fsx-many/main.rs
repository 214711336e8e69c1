//! Random operations of several processes on one file, each in byte ranges of its own, checked by all of them.
//!
//! ```text
//! fsx-many run DIR SEED PHASES OPERATIONS [-- WORDS…]
//! fsx-many check DIR SEED PHASES OPERATIONS
//! ```
//!
//! `run` creates a file in DIR and starts the processes, by the given words if there are any, such as `mapback run --`. In each
//! phase every process does OPERATIONS random operations: it writes by stores to maps or by calls, and reads what it has
//! written. The ranges are interleaved and begin anywhere in a page, so that most pages have two owners or more. Then all
//! processes stop, and each compares the whole file with what the operations of all must have left, which follows from
//! the seed. Last, one of them changes the file's size. The processes end in different ways, one of them by SIGKILL.
//!
//! `check` compares a file that `run` left with what must be there.

mod hands;
mod lead;
mod plan;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use plan::Plan;

/// What a process is told on its command line.
struct Task {
    role: String,
    dir: PathBuf,
    plan: Plan,
    worker: Option<usize>,
    words: Vec<String>,
}

fn main() -> ExitCode {
    let task = match parse(std::env::args().skip(1)) {
        Some(task) => task,
        None => {
            eprintln!("usage: fsx-many run|check DIR SEED PHASES OPERATIONS [-- WORDS...]");
            return ExitCode::from(2);
        }
    };
    let done = match (task.role.as_str(), task.worker) {
        ("run", None) => lead::run(&task.dir, &task.plan, &task.words),
        ("check", None) => lead::check(&task.dir, &task.plan),
        ("work", Some(worker)) => work::work(&task.dir, &task.plan, worker),
        (role, _) => Err(format!("no such role: {role}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let who = task.worker.map_or_else(String::new, |worker| format!(" {worker}"));
            eprintln!("fsx-many, seed {}, {}{who}: {why}", task.plan.seed, task.role);
            ExitCode::FAILURE
        }
    }
}

fn parse(words: impl Iterator<Item = String>) -> Option<Task> {
    let mut words: Vec<_> = words.collect();
    let started_by = match words.iter().position(|word| word == "--") {
        Some(at) => words.split_off(at).split_off(1),
        None => Vec::new(),
    };
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    let plan = Plan {
        seed: number(2)?,
        phases: u32::try_from(number(3)?).ok()?,
        operations: u32::try_from(number(4)?).ok()?,
    };
    let worker = match words.len() {
        5 => None,
        6 => Some(usize::try_from(number(5)?).ok().filter(|worker| *worker < plan::WORKERS)?),
        _ => return None,
    };
    Some(Task { role: words[0].clone(), dir: words[1].clone().into(), plan, worker, words: started_by })
}
