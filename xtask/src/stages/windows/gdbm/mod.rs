//! GDBM, a program that stores through shared maps and knows nothing of mapback: built by mingw against our
//! `<sys/mman.h>`, with its own tests under Wine.
//!
//! It is chosen because it does all its reading and writing through `MAP_SHARED` maps of its file if `configure` finds
//! that AC_FUNC_MMAP works: it grows the file, moves the mapped window, and calls `msync(MS_SYNC | MS_INVALIDATE)`.

mod build;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::mingw::CC;
use super::toolchain::{Built, Toolchain};
use super::wine::Wine;
use super::{Amount, TRACKERS};
use crate::ctx::{Ctx, fresh};
use crate::report::Report;
use crate::run::{Cmd, Log};

/// How many tests GDBM has.
const TESTS: usize = 33;

/// Tests that write a database by one process and read it by another.
const PERSISTENT: [&str; 3] = ["2", "3", "14"];

/// Builds GDBM and runs its tests with one tracker.
pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    with_trackers(&TRACKERS[..1], Amount::Little, ctx, report)
}

/// With each tracker.
pub(crate) fn run_whole(ctx: &Ctx, report: &mut Report) -> Result<()> {
    with_trackers(&TRACKERS, Amount::Much, ctx, report)
}

fn with_trackers(trackers: &[&str], amount: Amount, ctx: &Ctx, report: &mut Report) -> Result<()> {
    let wine = Wine::new(ctx)?;
    report.case("Wine starts", |log| wine.begin(log));
    let built = Toolchain::new(ctx).library(&wine, amount.profile(), report.log())?;
    let mut gdbm = None;
    report.case("GDBM, configured and compiled by mingw", |log| {
        let (built, note) = Gdbm::build(ctx, &wine, &built, log)?;
        gdbm = Some(built);
        Ok(note)
    });
    let Some(gdbm) = gdbm else { return Ok(()) };
    for tracker in trackers {
        report.case(format!("GDBM's own tests, {tracker}"), |log| gdbm.tests(tracker, log));
        report.case(format!("GDBM by windows of 8 KiB, {tracker}"), |log| gdbm.windows(tracker, log));
    }
    report.case("GDBM's tests with nothing written back: fail", |log| gdbm.control(trackers[0], log));
    Ok(())
}

struct Gdbm<'c> {
    ctx: &'c Ctx,
    wine: &'c Wine,
    built: &'c Built,
    root: PathBuf,
    /// GDBM's own directory with its tests and their programs.
    tests: PathBuf,
}

/// What the processes of a run did, in mapback's own count.
struct Mapped {
    processes: usize,
    maps: u64,
    bytes_loaded: u64,
    bytes_written: u64,
}

impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (loaded, written) = (self.bytes_loaded >> 10, self.bytes_written >> 10);
        write!(
            f,
            "{} processes, {} shared maps, {loaded} KiB loaded, {written} KiB written back",
            self.processes, self.maps
        )
    }
}

impl Gdbm<'_> {
    /// A command for GDBM's programs.
    fn with(&self, program: &str, tracker: &str) -> Cmd {
        let _ = fs::remove_file(self.counts());
        self.wine
            .with(Cmd::new(program))
            .env("MAPBACK_TRACKER", tracker)
            .env("MAPPED", Wine::path(&self.counts()))
    }

    /// Runs GDBM's test suite; says of each test whether it passed.
    fn run(&self, command: Cmd, log: &Log) -> Result<BTreeMap<String, bool>> {
        let done = command.cwd(&self.tests).limit(Duration::from_secs(600)).run(log)?;
        let outcomes = outcomes(&done.output);
        if outcomes.values().any(|ok| !ok) {
            Cmd::new("cat").arg(self.tests.join("testsuite.log")).run_ok(log)?;
        }
        Ok(outcomes)
    }

    /// Where posix.c counts.
    fn counts(&self) -> PathBuf {
        self.root.join("mapped")
    }

    fn mapped(&self) -> Result<Mapped> {
        let text = fs::read_to_string(self.counts()).context("no process of the tests mapped a file")?;
        let mut sum = Mapped { processes: 0, maps: 0, bytes_loaded: 0, bytes_written: 0 };
        for line in text.lines() {
            let counts = line.split(' ').map(str::parse::<u64>).collect::<Result<Vec<_>, _>>()?;
            let [maps, loaded, written] = counts[..] else { bail!("three counts wanted, not {line:?}") };
            sum.processes += 1;
            sum.maps += maps;
            sum.bytes_loaded += loaded;
            sum.bytes_written += written;
        }
        Ok(sum)
    }

    /// All of GDBM's tests: each has to pass.
    fn tests(&self, tracker: &str, log: &Log) -> Result<String> {
        let outcomes = self.run(self.with("sh", tracker).args(["./testsuite", "-j2"]), log)?;
        let failed: Vec<_> = outcomes.iter().filter(|(_, ok)| !**ok).map(|(name, _)| name.as_str()).collect();
        ensure!(failed.is_empty(), "{} tests failed: {}", failed.len(), failed.join("; "));
        ensure!(outcomes.len() == TESTS, "{} tests of {TESTS} were run", outcomes.len());
        let mapped = self.mapped()?;
        ensure!(mapped.bytes_written > 0, "nothing was written back");
        Ok(format!("{TESTS} tests passed; {mapped}"))
    }

    /// A database that is mapped 8 KiB at a time, from any 4 KiB on, holds what was put into it. (With blocks smaller
    /// than a page GDBM 1.23 loses records by such windows on Linux as well.)
    fn windows(&self, tracker: &str, log: &Log) -> Result<String> {
        let script = [
            "num2word 1:1000 >input",
            "gtload -blocksize=4096 -maxmap=8192 db <input",
            "gtdump db | sort -k1n,2n >output",
            "cmp input output",
        ];
        let path = format!("{}:{}", self.tests.display(), std::env::var("PATH").unwrap_or_default());
        self.with("sh", tracker)
            .args(["-c", &script.join(" && ")])
            .env("PATH", path)
            .cwd(self.ctx.fresh_dir("windows-gdbm")?)
            .limit(Duration::from_secs(300))
            .run_ok(log)?;
        Ok(format!("1000 records; {}", self.mapped()?))
    }

    /// The tests notice it if nothing is written back: so what they find in the files came through our maps.
    fn control(&self, tracker: &str, log: &Log) -> Result<String> {
        let dlls = fresh(self.root.join("control"))?;
        let dll = self.built.prefix.join("bin/mapback.dll");
        fs::copy(&dll, dlls.join("real.dll")).with_context(|| format!("cannot copy {}", dll.display()))?;
        let def = fs::read_to_string(self.built.prefix.join("lib/mapback.def"))
            .context("cannot read what the DLL exports")?;
        let forwarded = |name: &str| match name {
            "EXPORTS" | "mapback_mmap_handle" => name.to_owned(),
            name => format!("{name}=real.{name}"),
        };
        let names = def.lines().filter(|line| !line.starts_with("LIBRARY"));
        let lines: Vec<_> = names.map(forwarded).collect();
        write(&dlls.join("control.def"), &(lines.join("\n") + "\n"))?;
        Cmd::new(CC)
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared"])
            .arg(self.built.cflags())
            .arg(self.posix().join("control.c"))
            .arg(dlls.join("control.def"))
            .arg("-o")
            .arg(dlls.join("mapback.dll"))
            .run_ok(log)?;
        let command = self.wine.with_dlls(self.with("sh", tracker), &dlls);
        let outcomes = self.run(command.args(["./testsuite", "-j2"]).args(PERSISTENT), log)?;
        let passed = outcomes.values().filter(|ok| **ok).count();
        ensure!(
            passed == 0 && outcomes.len() == PERSISTENT.len(),
            "{passed} of {} tests pass although nothing is written back",
            outcomes.len()
        );
        Ok(format!("{} tests that read what another process wrote fail", outcomes.len()))
    }
}

/// Reads lines like ` 12: create database     ok`: whether each test passed.
fn outcomes(output: &str) -> BTreeMap<String, bool> {
    let line = |line: &str| {
        let (number, rest) = line.trim_start().split_once(": ")?;
        number.parse::<u32>().ok()?;
        let (name, outcome) = rest.rsplit_once("  ")?;
        Some((format!("{number} {}", name.trim_end()), outcome.trim() == "ok"))
    };
    output.lines().filter_map(line).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ok_is_ok() {
        let output = "Cloexec\n\n  8: gdbm_close error      ok\n 13: converting a 1.8-style database  skipped (x.at:20)\n \
                      25: cloexec: gdbm_reorganize   FAILED (cloexec01.at:20)\nAll 33 tests: done\n";
        let expected = [
            ("13 converting a 1.8-style database", false),
            ("25 cloexec: gdbm_reorganize", false),
            ("8 gdbm_close error", true),
        ];
        assert_eq!(outcomes(output), expected.map(|(name, ok)| (name.to_owned(), ok)).into());
    }
}
