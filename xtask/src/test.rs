//! `cargo xtask test`: prepares what the chosen stages need, runs them, and prints the table.

use anyhow::{Result, bail};

use crate::ctx::Ctx;
use crate::install::Need;
use crate::report::{Report, Row};
use crate::stages::{BY_NAME, STAGES, Stage};
use crate::tracker::Tracker;
use crate::{cargo, install, python, report, run};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run this stage only; may be given several times
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,
    /// Test this tracker only; may be given several times
    #[arg(long, value_enum)]
    tracker: Vec<Tracker>,
    /// Fewer cases and operations: a look before the whole thing
    #[arg(long)]
    quick: bool,
    /// Name the stages
    #[arg(long)]
    list: bool,
}

/// What `cargo xtask windows` can be told.
#[derive(clap::Args)]
pub(crate) struct Quick {
    /// Fewer cases and operations: a look before the whole thing
    #[arg(long)]
    quick: bool,
}

impl Options {
    /// The stages that are not about this system.
    pub(crate) fn windows(quick: &Quick) -> Self {
        Self::of(if quick.quick {
            &["windows", "windows-gdbm", "targets"]
        } else {
            &["windows-whole", "windows-gdbm-whole", "targets"]
        })
    }

    /// The C library as its users build it.
    pub(crate) fn c_library() -> Self {
        Self::of(&["c-library-by-cargo-c"])
    }

    fn of(only: &[&str]) -> Self {
        let only = only.iter().map(ToString::to_string).collect();
        Self { only, tracker: Vec::new(), quick: false, list: false }
    }
}

pub(crate) fn main(options: &Options) -> Result<bool> {
    if options.list {
        for stage in STAGES {
            println!("{:<20} {}", stage.name, stage.about);
        }
        println!("\nBy name only:");
        for stage in BY_NAME {
            println!("{:<20} {}", stage.name, stage.about);
        }
        return Ok(true);
    }
    let stages = chosen(&options.only)?;
    let ctx = Ctx::new(options.quick, &options.tracker)?;
    crate::mounts::undo_stale(&ctx.scratch)?;
    let needs = needs(&stages);
    let mut rows = Vec::new();
    if !needs.is_empty() {
        rows.push(prepare(&ctx, &needs)?);
    }
    let ready = rows.iter().all(Row::is_ok);
    for stage in stages.into_iter().filter(|_| ready) {
        if run::is_interrupted() {
            break;
        }
        let mut report = Report::new(&ctx, stage.name, stage.about)?;
        let set_up = (stage.run)(&ctx, &mut report);
        rows.push(report.finish(set_up));
    }
    let ok = report::table(&ctx, &rows) && !run::is_interrupted();
    if ok {
        ctx.clean();
    }
    Ok(ok)
}

fn chosen(only: &[String]) -> Result<Vec<&'static Stage>> {
    if only.is_empty() {
        return Ok(STAGES.iter().collect());
    }
    let all = || STAGES.iter().chain(BY_NAME);
    if let Some(unknown) = only.iter().find(|name| !all().any(|stage| stage.name == name.as_str())) {
        let names: Vec<_> = all().map(|stage| stage.name).collect();
        bail!("there is no stage {unknown}; there are {}", names.join(", "));
    }
    Ok(all().filter(|stage| only.iter().any(|name| name == stage.name)).collect())
}

/// What the stages need, each thing once.
fn needs(stages: &[&Stage]) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    for need in stages.iter().flat_map(|stage| stage.needs) {
        if !needs.contains(need) {
            needs.push(*need);
        }
    }
    needs
}

/// Gets ready what is needed; without it no stage is run.
pub(crate) fn prepare(ctx: &Ctx, needs: &[Need]) -> Result<Row> {
    let mut report = Report::new(ctx, "prepare", "installs and builds what the stages need")?;
    if needs.iter().any(|need| matches!(need, Need::Package(..))) {
        report.case("Debian packages", |log| install::packages(ctx, needs, log));
    }
    if needs.contains(&Need::Fsx) {
        report.case("fsx from crates.io", |log| cargo::install_fsx(ctx, log));
    }
    if needs.contains(&Need::PyLmdb) {
        report.case("py-lmdb from PyPI", |log| python::install_lmdb(ctx, log));
    }
    if needs.contains(&Need::CargoC) {
        report.case("cargo-c from crates.io", |log| cargo::install_cargo_c(ctx, log));
    }
    if needs.contains(&Need::Programs) {
        report.case("the workspace's programs", |log| cargo::build_programs(ctx, log));
    }
    Ok(report.finish(Ok(())))
}
