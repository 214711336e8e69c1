//! Several processes on one file, each in byte ranges of its own, through maps and calls at once.
//!
//! fsx itself cannot be confined to a part of a file; `fsx-many` of the conformance package does its work there.

use anyhow::Result;

use super::several::{Several, Started, show};
use crate::ctx::Ctx;
use crate::report::Report;
use crate::run::Cmd;

/// How many operations each process does in a phase.
pub(crate) const OPERATIONS: u32 = 250;

/// How many processes there are.
pub(crate) const PROCESSES: u32 = 4;

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let phases = if ctx.quick { 4 } else { 40 };
    // The same operations each time, so that a change is judged by what it changed; `torture` takes ever new ones.
    let all = Started::ALL.map(|started| (program(ctx, 1, phases), started));
    show(ctx, report, &all)
}

/// The program with so many phases.
pub(crate) fn program(ctx: &Ctx, seed: u64, phases: u32) -> Several {
    let program = Cmd::new(ctx.program("fsx-many"));
    Several {
        what: String::new(),
        run: program.clone().arg("run"),
        check: program.arg("check"),
        arguments: [seed, phases.into(), OPERATIONS.into()].map(|number| number.to_string()).to_vec(),
        // The fourth is killed before it could leave statistics.
        processes: 3,
        refusal: "mmap: No such device",
    }
}
