//! C programs against mapback.dll: what the clauses, which are linked statically, cannot show.

use anyhow::{Result, ensure};
use std::fs;

use super::toolchain::Built;
use super::wine::Wine;
use crate::ctx::Ctx;
use crate::run::Log;

/// Each program is run in a directory of its own, and must exit 0; then `file` must hold the text.
const PROGRAMS: [(&str, &[&str], &str); 5] = [
    ("endings", &["return"], "Jello, world"),
    ("endings", &["exit"], "Jello, world"),
    ("endings", &["_exit"], "Jello, world"),
    ("unload", &[], "Jello, world"),
    ("posix", &[], "HELLO, WORLD"),
];

/// A program that is linked with the import library for MSVC.
pub(super) fn linked_as_msvc(ctx: &Ctx, wine: &Wine, built: &Built, log: &Log) -> Result<String> {
    let program = built.link_as_msvc(&ctx.root.join("xtask/programs/windows/by_lib.c"), "by_lib.exe", log)?;
    let dir = ctx.fresh_dir("windows-programs")?;
    wine.run(&program).cwd(&dir).run_ok(log)?;
    let found = fs::read_to_string(dir.join("file"))?;
    ensure!(found == "jello", "it left {found:?} in its file, not \"jello\"");
    Ok("mapback.dll.lib".into())
}

pub(super) fn run(ctx: &Ctx, wine: &Wine, built: &Built, tracker: &str, log: &Log) -> Result<String> {
    for (name, args, expected) in PROGRAMS {
        let source = ctx.root.join("xtask/programs/windows").join(format!("{name}.c"));
        let program = built.compile(&source, &format!("{name}.exe"), log)?;
        let dir = ctx.fresh_dir("windows-programs")?;
        wine.run(&program).args(args).env("MAPBACK_TRACKER", tracker).cwd(&dir).run_ok(log)?;
        let found = fs::read_to_string(dir.join("file"))?;
        ensure!(found == expected, "{name} {args:?} left {found:?} in its file, not {expected:?}");
    }
    Ok(format!("{} runs", PROGRAMS.len()))
}
