//! `mapback-bench`: kernel mmap and mapback side by side, in turn, in one run.
//!
//! Each contender has a process of its own, because mapback's address space is the process's. The parent asks one
//! after the other, A B A B …, so that whatever the machine does meanwhile hits all of them.

mod args;
mod device;
mod figures;
mod host;
mod names;
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
    let done = match (options.worker, options.sharing_worker) {
        (Some(contender), _) => worker::main(contender, &options.dir, options.size()),
        (None, Some(role)) => sharing::worker(role, &options.files),
        (None, None) if options.sharing => sharing::run(&options),
        (None, None) => run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mapback-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &args::Options) -> Result<()> {
    let system = host::describe(&options.dir)?;
    host::warn_about_memory(options);
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
