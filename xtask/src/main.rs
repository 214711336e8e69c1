//! The project's own commands, started as `cargo xtask COMMAND`.

mod bench;
mod c_library;
mod cargo;
mod ctx;
mod fsx;
mod install;
mod licences;
mod mapback;
mod mounts;
mod python;
mod report;
mod run;
mod stages;
mod test;
mod torture;
mod tracker;
mod ui;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what only the tests need, build everything and run the stages
    Test(test::Options),
    /// Run the Windows library under Wine, and check the other systems
    Windows(test::Quick),
    /// Build and install the C library by cargo-c, and use it; builds cargo-c first, which takes a while
    CLibrary,
    /// Run fsx and the model with ever new seeds, until the time is up or something fails
    Torture(torture::Options),
    /// Run the side-by-side benchmark (`mapback-bench`) in release mode
    Bench(bench::Options),
    /// Check that every dependency's licence is one that we accept
    Licences,
}

fn main() -> ExitCode {
    run::watch_for_interrupts();
    let done = match Cli::parse().command {
        Command::Test(options) => test::main(&options),
        Command::Windows(quick) => test::main(&test::Options::windows(&quick)),
        Command::CLibrary => test::main(&test::Options::c_library()),
        Command::Torture(options) => torture::main(&options),
        Command::Bench(options) => bench::main(&options),
        Command::Licences => licences::main(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
