//! The command line.

use crate::memmap2::rival::Rival;
use crate::sharing::role::Role;
use bytesize::ByteSize;
use clap::Parser;
use mapback_bench::Contender;
use std::path::PathBuf;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Measure the kernel's mmap and mapback side by side, and say which targets hold on this machine
#[derive(Debug, Parser)]
#[command(name = "mapback-bench", version)]
pub(crate) struct Options {
    /// Size of each file [default: 1GiB, with --quick 128MiB]
    #[arg(long)]
    size: Option<ByteSize>,
    /// Where the files are made: a directory on a disk, with room for one file per contender
    #[arg(long, default_value = "/var/tmp")]
    pub(crate) dir: PathBuf,
    /// Rounds that count; two more come first and do not [default: 9, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// A small run, to see that everything works; its figures mean little
    #[arg(long)]
    quick: bool,
    /// Memory to touch once before, because virtual machines give idle memory back to their host
    /// [default: 6GiB, at most half of what is free; with --quick nothing]
    #[arg(long)]
    touch: Option<ByteSize>,
    /// Measure only these: kernel-large, kernel-4k, wp-async, fault, compare, whole
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Write the picture of the bench to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measure instead what files without a map pay under `mapback run`, and the second process that maps a file
    #[arg(long)]
    pub(crate) sharing: bool,
    /// Measure instead what flush and flush_atomic of the Rust maps cost, beside memmap2's flush
    #[arg(long)]
    pub(crate) memmap2: bool,
    /// Be a process of --memmap2
    #[arg(long, hide = true)]
    pub(crate) memmap2_worker: Option<Rival>,
    /// Be a process of --sharing, with these files
    #[arg(long, hide = true, requires = "files")]
    pub(crate) sharing_worker: Option<Role>,
    #[arg(hide = true, requires = "sharing_worker")]
    pub(crate) files: Vec<PathBuf>,
    /// Be the process of this contender
    #[arg(long, hide = true)]
    pub(crate) worker: Option<Contender>,
}

impl Options {
    pub(crate) fn size(&self) -> u64 {
        let default = if self.quick { 128 * MIB } else { GIB };
        // At least so many that each share of the pages is one page or more.
        self.size.map_or(default, |s| s.as_u64()).max(48 * MIB)
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 9 }).into()
    }

    pub(crate) fn touch(&self) -> u64 {
        let default = if self.quick { 0 } else { (6 * GIB).min(crate::host::available_memory() / 2) };
        self.touch.map_or(default, |t| t.as_u64())
    }

    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let wanted = |c: &Contender| self.only.is_empty() || self.only.contains(c);
        Contender::all().into_iter().filter(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn what_is_given_wins_over_quick() {
        let options = Options::parse_from(["b", "--quick", "--rounds", "5", "--only", "fault,kernel-4k"]);
        assert_eq!((options.rounds(), options.size(), options.touch()), (5, 128 * MIB, 0));
        assert_eq!(options.contenders().len(), 2);
    }
}
