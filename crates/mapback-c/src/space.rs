//! The space of this process, made at the first call that needs it.

use mapback::TrackerKind;
use mapback::posix::{Config, Space};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

static SPACE: OnceLock<Space> = OnceLock::new();
/// The place of the wanted tracker in [`TrackerKind::ALL`], plus one; 0: none was named.
static WANTED: AtomicU8 = AtomicU8::new(0);

/// The space; `begin` comes before it is made.
pub(crate) fn made(begin: fn()) -> &'static Space {
    SPACE.get_or_init(|| {
        begin();
        let space = Space::new(config());
        space.begin();
        space
    })
}

/// The space, if anything was ever mapped.
pub(crate) fn existing() -> Option<&'static Space> {
    SPACE.get()
}

/// Names the tracker to use; `false` when it is too late.
pub(crate) fn want(kind: TrackerKind) -> bool {
    let at = TrackerKind::ALL.iter().position(|k| *k == kind).map_or(0, |at| at as u8 + 1);
    WANTED.store(at, Ordering::Release);
    existing().is_none()
}

fn wanted() -> Option<TrackerKind> {
    let at = WANTED.load(Ordering::Acquire);
    if at > 0 {
        return TrackerKind::ALL.get(usize::from(at) - 1).copied();
    }
    let name = std::env::var("MAPBACK_TRACKER").ok().filter(|name| !name.is_empty())?;
    match name.parse() {
        Ok(kind) => Some(kind),
        Err(unknown) => {
            report(&format!("MAPBACK_TRACKER: {unknown}; taking the best that works"));
            None
        }
    }
}

fn config() -> Config {
    let tracker = wanted();
    #[cfg(unix)]
    let config = Config { tracker, report, mode: mapback::posix::Mode::All, ..Config::default() };
    #[cfg(windows)]
    let config = Config { tracker, report };
    config
}

/// One line to whoever runs the program.
fn report(line: &str) {
    eprintln!("mapback: {line}");
}
