//! `mapback-bench`: kernel mmap and mapback side by side, in turn, in one run.
//!
//! Each contender has a process of its own, because mapback's address space is the process's. The parent asks one
//! after the other, A B A B …, so that whatever the machine does meanwhile hits all of them.

mod args;
mod device;
mod figures;
mod host;
mod memmap2;
mod names;
mod peer;
mod picture;
mod plan;
mod report;
mod session;
mod sharing;
mod tables;
mod targets;
mod task;
mod worker;

use anyhow::{Context, Result};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = args::Options::parse();
    match perform(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mapback-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(options: &args::Options) -> Result<()> {
    if let Some(contender) = options.worker {
        worker::main(contender, &options.dir, options.size())
    } else if let Some(role) = options.sharing_worker {
        sharing::worker(role, &options.files)
    } else if let Some(rival) = options.memmap2_worker {
        memmap2::worker(rival, &options.dir, options.size())
    } else if options.sharing {
        sharing::run(options)
    } else if options.memmap2 {
        memmap2::run(options)
    } else {
        run(options)
    }
}

fn run(options: &args::Options) -> Result<()> {
    let system = host::describe(&options.dir)?;
    host::warn_about_memory(&options.contenders(), options.size());
    host::touch_memory(options.touch());
    let mut bench = plan::Bench::start(options)?;
    bench.run()?;
    let figures = bench.finish();
    let targets = targets::judge(&figures, options.size());
    print!("{}", report::text(options, &system, &figures, &targets));
    if let Some(path) = &options.json {
        let json = report::json(options, &system, &figures, &targets)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &options.svg {
        let picture = picture::draw(&figures, &options.contenders(), options.size(), &system);
        svg::save(path, &picture).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
