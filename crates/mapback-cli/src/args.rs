//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{FalseyValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum, ValueHint};
use mapback::TrackerKind;

use crate::keep::RecoverArgs;

const RUN_EXAMPLES: &str = "\
Examples:
  mapback run -- git status            serve the file maps that the file system refuses
  mapback run --stats -- ./program     and tell what was loaded and written back
  mapback run --maps all --only '*.db' -- ./program
                                       serve every map of files whose names end in .db
  mapback run --tracker fault -- ./program

Environment:
  MAPBACK_MAPS, MAPBACK_ONLY, MAPBACK_EXCEPT, MAPBACK_TRACKER, MAPBACK_INCLUDE_TMPFS,
  MAPBACK_FLUSH_EVERY
                                       stand in for the options, which come first
  MAPBACK_SHARED_DIR                   where images are shared [default: /dev/shm/mapback-UID]
  MAPBACK_PRELOAD                      the interposer to use, instead of the one that mapback carries

Exit status: the program's own; 125 if mapback failed, 126 if the program cannot be run, 127 if it was not found.";

const RECOVER_EXAMPLES: &str = "\
Examples:
  mapback recover --list               every image there is, and how its changes stand
  mapback recover --all                write back all that is left behind
  mapback recover data.db              write back what is left behind of one file
  mapback recover --force data.db      even though others changed the file since

Environment:
  MAPBACK_SHARED_DIR                   where images are shared [default: /dev/shm/mapback-UID]

Exit status: 0; 1 if something could not be written back or is in conflict; 125 if mapback failed.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  mapback doctor                       this system, and the tracker that will be used
  mapback doctor /mnt/share            does the file system there grant shared maps?
  mapback doctor git                   can the program be served?

Exit status: 0, or 1 if something stands in the way of serving maps.";

/// mmap for real files, done in user space.
#[derive(Debug, Parser)]
#[command(name = "mapback", version, about, max_term_width = 110, arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `mapback` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program with its file maps served by mapback
    #[command(after_help = RUN_EXAMPLES, override_usage = "mapback run [OPTIONS] [--] PROGRAM [ARGUMENTS]...")]
    Run(RunArgs),
    /// Tell what works here, and what mapback will do with a path or a program
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor {
        /// A file, a folder or a program
        #[arg(value_hint = ValueHint::AnyPath)]
        target: Option<OsString>,
    },
    /// Write back what killed processes left behind, where nobody kept watch
    #[command(after_help = RECOVER_EXAMPLES)]
    Recover(RecoverArgs),
    /// Keep watch until no process has an image
    #[command(hide = true)]
    Keep {
        /// How often changes of living processes are written back
        #[arg(long, env = "MAPBACK_FLUSH_EVERY", value_parser = every, default_value = "1s")]
        flush_every: Every,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, for man(1)
    #[command(hide = true)]
    Man {
        /// The command whose page it is [default: mapback itself]
        command: Option<String>,
    },
}

/// The options of `mapback run`. What is not given here is taken from the environment, which programs that the program
/// starts inherit in turn.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// Which maps to serve
    #[arg(long, env = "MAPBACK_MAPS", value_enum, default_value_t = Maps::Auto, hide_env_values = true)]
    pub maps: Maps,

    /// Serve only files whose path matches GLOB (repeatable; without a slash: the file name)
    #[arg(long, value_name = "GLOB", env = "MAPBACK_ONLY", value_delimiter = '\n', hide_env_values = true)]
    pub only: Vec<String>,

    /// Never serve files whose path matches GLOB (repeatable)
    #[arg(long, value_name = "GLOB", env = "MAPBACK_EXCEPT", value_delimiter = '\n', hide_env_values = true)]
    pub except: Vec<String>,

    /// How to learn which pages changed [default: the best that works here]
    #[arg(long, env = "MAPBACK_TRACKER", value_parser = trackers(), hide_env_values = true)]
    pub tracker: Option<TrackerKind>,

    /// With --maps all: serve files on tmpfs and memfds, too
    #[arg(long, env = "MAPBACK_INCLUDE_TMPFS", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    pub include_tmpfs: bool,

    /// How often changes are written back while the program runs, so that those see them who read the file without
    /// mapback (0: only when the program says so, and at its end)
    #[arg(long, value_name = "TIME", env = "MAPBACK_FLUSH_EVERY", value_parser = every, default_value = "1s")]
    #[arg(hide_env_values = true)]
    pub flush_every: Every,

    /// At the end, tell on stderr what was loaded and written back, per file
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "table"
    )]
    pub stats: Option<StatsFormat>,

    /// Write the statistics to FILE instead
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub stats_file: Option<PathBuf>,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM", num_args = 1..)]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// How often something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(pub Option<Duration>);

/// Reads `1s`, `250ms`, `0`; a bare number is seconds.
fn every(text: &str) -> Result<Every, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds =
        number.parse::<f64>().ok().map(|n| n * unit).and_then(|s| Duration::try_from_secs_f64(s).ok());
    let time = seconds.ok_or("a time such as 1s, 250ms or 0")?;
    Ok(Every(Some(time).filter(|time| !time.is_zero())))
}

/// Which maps are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Maps {
    /// Those that the file system refuses
    Auto,
    /// Every map of a regular file
    All,
}

/// How statistics are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatsFormat {
    /// An aligned table
    Table,
    /// One JSON document
    Json,
}

/// Knows the trackers that can be forced.
fn trackers() -> impl TypedValueParser<Value = TrackerKind> {
    PossibleValuesParser::new(
        TrackerKind::ALL.map(|kind| PossibleValue::new(kind.name()).help(meaning(kind))),
    )
    .try_map(|name| name.parse::<TrackerKind>())
}

/// What a tracker does, in a few words.
pub fn meaning(kind: TrackerKind) -> &'static str {
    match kind {
        TrackerKind::WpAsync => "the kernel notes each changed page (Linux 6.7)",
        TrackerKind::WriteWatch => "the system notes each changed page (Windows)",
        TrackerKind::Fault => "a fault handler notes each changed page",
        TrackerKind::Compare => "compare with a pristine copy, write back changed bytes only",
        TrackerKind::Whole => "write back all that was writable",
    }
}

/// The name of a value as it stands on the command line and in the environment.
pub fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
