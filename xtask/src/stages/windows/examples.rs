//! The library's Rust examples, not changed for Windows, and what they print.

use anyhow::{Result, ensure};

use super::toolchain::Toolchain;
use super::wine::Wine;
use crate::ctx::Ctx;
use crate::run::Log;

/// Each is run after the one before: name, arguments, and what is in its output.
const RUNS: [(&str, &[&str], &str); 6] = [
    ("hash_table", &["table", "set", "one", "10"], ""),
    ("hash_table", &["table", "set", "other", "5"], ""),
    ("hash_table", &["table", "move", "one", "other", "3"], ""),
    ("hash_table", &["table", "list"], "one\t7"),
    ("log", &["log"], "0 bytes are used"),
    ("word_count", &["table", "log"], "1048576 log"),
];

pub(super) fn run(ctx: &Ctx, toolchain: &Toolchain<'_>, wine: &Wine, log: &Log) -> Result<String> {
    let dir = ctx.fresh_dir("windows-files")?;
    for (name, args, expected) in RUNS {
        let program = toolchain.example(name, log)?;
        let done = wine.run(&program).args(args).cwd(&dir).run_ok(log)?;
        ensure!(done.output.contains(expected), "{name} {args:?} prints:\n{}", done.output);
    }
    Ok(format!("{} runs", RUNS.len()))
}
