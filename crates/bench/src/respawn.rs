//! One process per contender: mapback's address space is the process's, and a process has one tracker.

use crate::Contender;
use std::process::{Command, ExitCode};

/// Names the contender of a child.
const VARIABLE: &str = "MAPBACK_BENCH_CONTENDER";

/// Runs `work` for each contender in turn, each in a child process of this very program with the same arguments.
pub fn each(work: impl FnOnce(Contender)) -> ExitCode {
    if let Ok(name) = std::env::var(VARIABLE) {
        work(name.parse().expect("the name that this program gave"));
        return ExitCode::SUCCESS;
    }
    let program = std::env::current_exe().expect("a program knows where it is");
    for contender in Contender::all() {
        let mut child = Command::new(&program);
        child.args(std::env::args_os().skip(1)).env(VARIABLE, contender.name());
        match child.status() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                eprintln!("the benches of {contender} ended with {status}");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("cannot start {} for {contender}: {error}", program.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
