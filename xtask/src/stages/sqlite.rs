//! SQLite in WAL mode, whose index is a shared map: one writer and two reader processes.

use anyhow::Result;

use super::several::{Several, Started, show};
use crate::ctx::Ctx;
use crate::python::{PYTHON, programs};
use crate::report::Report;
use crate::run::Cmd;

/// What `PRAGMA mmap_size` is set to where the database itself is to be mapped.
pub(crate) const MMAP_SIZE: u64 = 64 << 20;

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let transactions = if ctx.quick { 300 } else { 3_000 };
    let plain = program(ctx, transactions, 0);
    let mapped = program(ctx, transactions, MMAP_SIZE);
    show(ctx, report, &[(plain, Started::Together), (mapped, Started::Apart)])
}

/// The program with so many writing transactions.
pub(crate) fn program(ctx: &Ctx, transactions: u32, mmap_size: u64) -> Several {
    let script = Cmd::new(PYTHON).arg(programs(ctx).join("sqlite_wal.py"));
    Several {
        what: format!("mmap_size {mmap_size}"),
        run: script.clone().arg("run"),
        check: script.arg("check"),
        arguments: ["--transactions", &transactions.to_string(), "--mmap-size", &mmap_size.to_string()]
            .map(str::to_owned)
            .to_vec(),
        // The creator, the writer, the readers, and who reopens the database at the end.
        processes: 5,
        refusal: "SQLITE_IOERR_SHMMAP",
    }
}
