//! What the torture repeats under Wine: the model with ever new seeds, and a crowd of threads.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::TRACKERS;
use super::toolchain::Toolchain;
use super::wine::Wine;
use crate::cargo::Counts;
use crate::ctx::Ctx;
use crate::report::Job;
use crate::run::Log;

/// The test programs, and what runs them.
pub(crate) struct Programs {
    wine: Wine,
    oracle: PathBuf,
    clauses: PathBuf,
}

/// Builds the test programs.
pub(crate) fn programs(ctx: &Ctx, log: &Log) -> Result<Programs> {
    let (wine, toolchain) = (Wine::new(ctx)?, Toolchain::new(ctx));
    wine.begin(log)?;
    let program = |name| toolchain.test_program("mapback-conformance", name, log);
    Ok(Programs { oracle: program("oracle")?, clauses: program("clauses")?, wine })
}

/// The model and the crowd, under one tracker; each round takes the next.
pub(crate) fn jobs<'a>(ctx: &'a Ctx, programs: &'a Programs, seed: u64, sequences: u32) -> Vec<Job<'a>> {
    let tracker = TRACKERS[usize::try_from(seed % TRACKERS.len() as u64).unwrap_or_default()];
    let run = move |what: &str, program: &PathBuf, args: &[&str], env: &[(&str, String)], log: &Log| {
        let dir = ctx.fresh_dir(&format!("torture-windows-{what}"))?;
        let mut cmd =
            programs.wine.run(program).args(args).env("MAPBACK_TEST_DIR", Wine::path(&dir)).cwd(dir);
        for (name, value) in env {
            cmd = cmd.env(name, value);
        }
        let cmd = cmd.env("MAPBACK_TRACKER", tracker).limit(Duration::from_secs(1800));
        Ok(Counts::of(&cmd.run_ok(log)?.output)?.note())
    };
    let oracle = move |log: &Log| {
        let env = [("ORACLE_SEED", seed.to_string()), ("ORACLE_CASES", sequences.to_string())];
        run("oracle", &programs.oracle, &[], &env, log)
    };
    let crowd = move |log: &Log| {
        run("crowd", &programs.clauses, &["p22_eight"], &[("CROWD_SECONDS", "30".into())], log)
    };
    vec![
        (format!("Windows, the oracle, {tracker}, seed {seed}"), Box::new(oracle)),
        (format!("Windows, a crowd, {tracker}"), Box::new(crowd)),
    ]
}
