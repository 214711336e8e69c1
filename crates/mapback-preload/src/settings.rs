//! The settings, from the environment that `mapback run` made; and the statistics that it asked for.

use glob::{MatchOptions, Pattern};
use mapback::TrackerKind;
use mapback::posix::{Config, Mode, Share, Space};
use rustix::fs::{Mode as FileMode, OFlags};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Makes the space that the environment asks for.
pub(crate) fn space() -> Space {
    let mode = match text("MAPBACK_MAPS").as_deref() {
        Some("all") => Mode::All,
        Some("auto") | None => Mode::Auto,
        Some(other) => {
            report(&format!("MAPBACK_MAPS={other}: neither auto nor all; taking auto"));
            Mode::Auto
        }
    };
    let tracker = text("MAPBACK_TRACKER").and_then(|name| match name.parse::<TrackerKind>() {
        Ok(kind) => Some(kind),
        Err(unknown) => {
            report(&format!("MAPBACK_TRACKER: {unknown}; taking the best that works"));
            None
        }
    });
    Space::new(Config {
        mode,
        tracker,
        include_tmpfs: text("MAPBACK_INCLUDE_TMPFS").is_some_and(|v| v != "0"),
        share: share(),
        choose: choose(&patterns("MAPBACK_ONLY"), &patterns("MAPBACK_EXCEPT")),
        report,
    })
}

fn share() -> Share {
    let dir = std::env::var_os("MAPBACK_SHARED_DIR").filter(|dir| !dir.is_empty());
    dir.map_or(Share::Default, |dir| Share::In(dir.into()))
}

fn text(name: &str) -> Option<String> {
    std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()).filter(|v| !v.is_empty())
}

fn patterns(name: &str) -> Vec<Pattern> {
    let lines = text(name).unwrap_or_default();
    let parse = |line: &str| match Pattern::new(line) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            report(&format!("{name}: {line:?}: {error}; leaving it out"));
            None
        }
    };
    lines.lines().filter(|l| !l.is_empty()).filter_map(parse).collect()
}

type Choose = Box<dyn Fn(&Path) -> bool + Send + Sync>;

fn choose(only: &[Pattern], except: &[Pattern]) -> Option<Choose> {
    if only.is_empty() && except.is_empty() {
        return None;
    }
    let (only, except) = (only.to_vec(), except.to_vec());
    Some(Box::new(move |path| {
        let options = MatchOptions { require_literal_leading_dot: false, ..MatchOptions::new() };
        let any = |patterns: &[Pattern]| patterns.iter().any(|p| p.matches_path_with(path, options));
        (only.is_empty() || any(&only)) && !any(&except)
    }))
}

/// One line on standard error, in one write.
pub(crate) fn report(line: &str) {
    let line = format!("mapback: {line}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// Appends this process's statistics to the file that `MAPBACK_STATS` names, as one line of JSON.
pub(crate) fn write_stats(space: &Space) {
    let Some(path) = std::env::var_os("MAPBACK_STATS") else { return };
    let files: Vec<_> = space
        .stats()
        .iter()
        .map(|s| {
            serde_json::json!({
                "path": s.path.to_string_lossy(), "tracker": s.tracker, "maps": s.maps,
                "bytes_loaded": s.bytes_loaded, "pages_changed": s.pages_changed, "runs": s.runs,
                "bytes_written": s.bytes_written, "load_ns": s.load_ns, "write_back_ns": s.write_back_ns,
            })
        })
        .collect();
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let program = program();
    let line = format!("{}\n", serde_json::json!({ "pid": pid, "program": program, "files": files }));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let append = || {
        let fd = rustix::fs::open(path.as_os_str().as_bytes(), flags, FileMode::RUSR | FileMode::WUSR)?;
        rustix::io::write(&fd, line.as_bytes())
    };
    // The program's own limit on the size of files must not end it here.
    let written = mapback::raw::with_file_size(u64::MAX / 2, append);
    // Who outlives the run finds its folder gone, and nobody left to tell.
    if let Err(error) = written
        && error != mapback::Errno::NOENT
    {
        report(&format!("cannot add statistics to {}: {error}", Path::new(&path).display()));
    }
}

/// The name of the running program's file.
fn program() -> String {
    let exe = rustix::fs::readlink(c"/proc/self/exe", Vec::new()).unwrap_or_default();
    let exe = OsString::from_vec(exe.into_bytes());
    let name = Path::new(&exe).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
