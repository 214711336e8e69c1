//! `mapback run`: sets the interposer up, starts the program, ends as it ends.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::args::{self, RunArgs, StatsFormat};
use crate::child::{self, Inherited};
use crate::elf::{self, Unreachable};
use crate::failure::{Failure, say};
use crate::keep::Watch;
use crate::stats::{self, Collector, Report, Subject};
use crate::{globs, lookup, preload};

/// Runs the program and ends with its status, or by its signal.
pub fn run(options: &RunArgs) -> Result<ExitCode, Failure> {
    let inherited =
        Inherited::get().map_err(|e| Failure::own(format!("cannot read the signal mask: {e}")))?;
    let Some((program, arguments)) = options.command.split_first() else {
        return Err(Failure::own("no program given"));
    };
    let path = lookup::find(program)?;
    let verdict = elf::look(&path);
    if let Some(why) = &verdict.unreachable {
        let program = verdict.program.display();
        say(format!("{program} {why}: it runs unserved ({})", why.advice()));
    }
    let library = preload::locate()?;
    let statistics = Statistics::new(options)?;

    let mut command = Command::new(&path);
    command.arg0(program).args(arguments);
    settings(&mut command, options)?;
    if !verdict.unreachable.as_ref().is_some_and(Unreachable::keeps_preload_out) {
        command.env("LD_PRELOAD", with_preload(library.path(), env::var_os("LD_PRELOAD").as_deref()));
    }
    if let Some(statistics) = &statistics {
        command.env("MAPBACK_STATS", statistics.collector.path());
    }
    let beside = || Watch::begin(options.flush_every.0);
    let supervised = child::supervise(&mut command, inherited, beside);
    let (pid, end, watch) = supervised.map_err(|e| cannot_start(&path, &e))?;
    if let Some(watch) = watch {
        watch.end(options.flush_every.0);
    }
    if let Some(statistics) = statistics {
        let unreachable = verdict.unreachable.map(|why| why.to_string());
        statistics.show(&Subject { path: &path, pid, end, unreachable: unreachable.as_deref() });
    }
    drop(library);
    Ok(end.reenact())
}

/// Where statistics are gathered and where they go.
struct Statistics {
    collector: Collector,
    format: StatsFormat,
    target: Option<(PathBuf, File)>,
}

impl Statistics {
    /// What is wrong with the target is said before the program runs, not after hours of its work.
    fn new(options: &RunArgs) -> Result<Option<Self>, Failure> {
        let format = match (options.stats, &options.stats_file) {
            (None, None) => return Ok(None),
            (format, _) => format.unwrap_or(StatsFormat::Table),
        };
        let target = match &options.stats_file {
            Some(path) => {
                let file = File::create(path);
                let file = file.map_err(|e| Failure::own(format!("--stats-file {}: {e}", path.display())))?;
                Some((path.clone(), file))
            }
            None => None,
        };
        let collector = Collector::new();
        let collector =
            collector.map_err(|e| Failure::own(format!("cannot make a folder for statistics: {e}")))?;
        Ok(Some(Statistics { collector, format, target }))
    }

    /// Shows what was gathered. Failing at it does not change how the program ended.
    fn show(self, subject: &Subject<'_>) {
        let lines = self.collector.lines().unwrap_or_else(|e| {
            say(format!("cannot read the statistics ({}): {e}", self.collector.path().display()));
            Vec::new()
        });
        let report = Report::new(&lines, subject);
        let text = match self.format {
            StatsFormat::Table => stats::table(&report),
            StatsFormat::Json => stats::json(&report),
        };
        match self.target {
            None => drop(anstream::stderr().write_all(text.as_bytes())),
            Some((path, mut file)) => {
                let plain = anstream::adapter::strip_str(&text).to_string();
                if let Err(e) = file.write_all(plain.as_bytes()) {
                    say(format!("cannot write the statistics to {}: {e}", path.display()));
                }
            }
        }
    }
}

/// The interposer's settings, for the program's environment.
fn settings(command: &mut Command, options: &RunArgs) -> Result<(), Failure> {
    let cwd =
        env::current_dir().map_err(|e| Failure::own(format!("cannot tell the working directory: {e}")))?;
    command.env("MAPBACK_MAPS", args::name(options.maps));
    let mut set = |name: &str, value: Option<String>| {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    };
    let some = |value: String| Some(value).filter(|value| !value.is_empty());
    set("MAPBACK_ONLY", some(globs::join("--only", &options.only, &cwd)?));
    set("MAPBACK_EXCEPT", some(globs::join("--except", &options.except, &cwd)?));
    set("MAPBACK_TRACKER", options.tracker.map(|kind| kind.name().to_owned()));
    let every = options.flush_every.0.unwrap_or_default();
    set("MAPBACK_FLUSH_EVERY", Some(format!("{}ms", every.as_millis())));
    set("MAPBACK_INCLUDE_TMPFS", options.include_tmpfs.then(|| "1".to_owned()));
    Ok(())
}

/// LD_PRELOAD with our library first, then what was there already, except for an interposer of an outer `mapback run`:
/// two of them in one process would serve each other's maps.
fn with_preload(library: &Path, before: Option<&OsStr>) -> OsString {
    let mut list = library.as_os_str().as_bytes().to_vec();
    let before = before.unwrap_or_default().as_bytes();
    for entry in before.split(|byte| matches!(byte, b':' | b' ')).filter(|entry| !entry.is_empty()) {
        let name = entry.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if !(name.starts_with(b"libmapback_preload") && name.ends_with(b".so")) {
            list.push(b':');
            list.extend_from_slice(entry);
        }
    }
    OsString::from_vec(list)
}

fn cannot_start(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot run '{}': {error}", path.display());
    match error.kind() {
        // The file was there: what is missing is its #! interpreter or its dynamic linker. exec(2) says ENOENT, too.
        io::ErrorKind::NotFound => Failure::not_found(format!("{message} (its interpreter, perhaps)")),
        _ => Failure::not_executable(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_comes_first_and_the_rest_stays() {
        let list = |before: &str| with_preload(Path::new("/x/new.so"), Some(OsStr::new(before)));
        assert_eq!(with_preload(Path::new("/x/new.so"), None), "/x/new.so");
        assert_eq!(list(""), "/x/new.so");
        assert_eq!(list("/a.so b.so::/c.so"), "/x/new.so:/a.so:b.so:/c.so");
        assert_eq!(
            list("/a.so:/old/libmapback_preload-12.so:/target/libmapback_preload.so"),
            "/x/new.so:/a.so"
        );
    }
}
