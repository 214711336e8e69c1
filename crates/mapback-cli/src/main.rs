//! The `mapback` command: runs an unmodified program with its file maps served by mapback.

mod args;
mod child;
mod doctor;
mod elf;
mod failure;
mod globs;
mod keep;
mod lookup;
mod preload;
mod run;
mod stats;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { failure::OWN } else { 0 });
        }
    };
    if !matches!(args.command, Command::Run(_)) {
        child::end_with_the_pipe();
    }
    let done = match args.command {
        Command::Run(options) => run::run(&options),
        Command::Recover(options) => keep::recover(&options),
        Command::Keep { flush_every } => keep::keep(flush_every.0),
        Command::Completions { shell } => completions(shell),
        Command::Doctor { target } => doctor::doctor(target.as_deref()),
        Command::Man { command } => man(command.as_deref()),
    };
    done.unwrap_or_else(|failure| {
        failure::say(&failure);
        failure.code()
    })
}

/// Prints the completion script for one shell.
fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    clap_complete::generate(shell, &mut Args::command(), "mapback", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page of mapback or of one of its commands.
fn man(command: Option<&str>) -> Result<ExitCode, Failure> {
    let mut all = Args::command();
    all.build();
    let page = match command {
        None => all,
        Some(name) => match all.find_subcommand(name) {
            Some(found) => found.clone(),
            None => return Err(Failure::own(format!("there is no command '{name}'"))),
        },
    };
    clap_mangen::Man::new(page)
        .render(&mut std::io::stdout())
        .map_err(|e| Failure::own(format!("cannot print the manual page: {e}")))?;
    Ok(ExitCode::SUCCESS)
}
