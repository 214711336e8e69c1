//! The parts that the processes of `--sharing` play.

/// What a child process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Reads and writes a file that nobody maps
    Calls,
    /// The same while it has a map of another file
    CallsBesideAMap,
    /// Maps a file
    Maps,
}
