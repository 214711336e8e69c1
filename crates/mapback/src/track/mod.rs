//! Trackers: which pages of a map changed since it was last asked.
//!
//! A tracker sees address ranges, never a file. One contract ([`Tracker`]), one file for each, and one line
//! in [`make`]. Each call is made under the owner's lock, so that a tracker needs none.

mod everything;
#[cfg(any(target_os = "linux", windows))]
pub(crate) mod fault;
mod pristine;
#[cfg(any(target_os = "linux", windows))]
pub(crate) mod process;
#[cfg(any(target_os = "linux", windows))]
mod protocol;
#[cfg(target_os = "linux")]
mod wp_async;
#[cfg(windows)]
mod write_watch;

pub(crate) use pristine::Pristine;
#[cfg(windows)]
pub(crate) use pristine::differences;

use crate::sys::Errno;
use core::fmt;
use core::ops::Range;
use core::str::FromStr;

/// The ways of knowing what to write back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackerKind {
    /// The kernel notes the page and re-arms it when asked (Linux 6.7 and later, no privilege, no signal).
    WpAsync,
    /// The system notes the page (Windows, memory of one process).
    WriteWatch,
    /// Pages start read-only; the handler of the fault notes the page and makes it writable.
    Fault,
    /// A pristine copy is kept; what differs from it is written, byte by byte.
    Compare,
    /// All that was ever writable is written.
    Whole,
}

impl TrackerKind {
    /// Every kind that this system may have, the most economical first.
    pub const ALL: [TrackerKind; 4] = [
        if cfg!(windows) { TrackerKind::WriteWatch } else { TrackerKind::WpAsync },
        TrackerKind::Fault,
        TrackerKind::Compare,
        TrackerKind::Whole,
    ];

    /// Whether it knows which pages were stored to.
    pub(crate) fn notes_pages(self) -> bool {
        matches!(self, TrackerKind::WpAsync | TrackerKind::WriteWatch | TrackerKind::Fault)
    }

    /// The name, as `MAPBACK_TRACKER` and the command line have it.
    pub fn name(self) -> &'static str {
        match self {
            TrackerKind::WpAsync => "wp-async",
            TrackerKind::WriteWatch => "write-watch",
            TrackerKind::Fault => "fault",
            TrackerKind::Compare => "compare",
            TrackerKind::Whole => "whole",
        }
    }
}

impl fmt::Display for TrackerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no tracker's.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no tracker is called {0:?}: take one of {best}, fault, compare, whole", best = TrackerKind::ALL[0])]
pub struct UnknownTracker(pub String);

impl FromStr for TrackerKind {
    type Err = UnknownTracker;

    fn from_str(name: &str) -> Result<TrackerKind, UnknownTracker> {
        TrackerKind::ALL.into_iter().find(|k| k.name() == name).ok_or_else(|| UnknownTracker(name.into()))
    }
}

/// Receives runs of addresses.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Range<usize>);

/// The contract of all trackers. Ranges are whole pages of one shared map of ours.
pub(crate) trait Tracker: Send {
    /// Begins to track. Stores from before may or may not be noted. On success the memory lets through what
    /// `desired` (`PROT_*`) allows; on error nothing is tracked and the protection is unspecified.
    fn arm(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno>;

    /// Reports each page that was stored to since it was last reported, or armed, and re-arms it in the same
    /// step. Content read after the return includes every store that this call reports (I2).
    ///
    /// # Errors
    /// Tracking was lost: the caller must count the whole range as changed, and arm anew.
    fn collect(&mut self, range: Range<usize>, sink: Sink<'_>) -> Result<(), Errno>;

    /// Changes the desired protection; what is noted stays noted.
    fn protect(&mut self, range: Range<usize>, desired: i32) -> Result<(), Errno>;

    /// Collects for the last time: gives the range the protection `last`, which lets no store through, first. (It may, if
    /// the caller knows that nobody stores.)
    fn retire(&mut self, range: Range<usize>, last: i32, sink: Sink<'_>) -> Result<(), Errno>;

    /// In a forked child: lets go of what belongs to the parent. Every range is armed anew afterwards.
    #[cfg_attr(windows, allow(dead_code))]
    fn forked(&mut self);
}

/// Makes a tracker.
///
/// # Errors
/// Why this system cannot have it.
pub(crate) fn make(kind: TrackerKind) -> Result<Box<dyn Tracker>, Errno> {
    Ok(match kind {
        #[cfg(target_os = "linux")]
        TrackerKind::WpAsync => Box::new(wp_async::WpAsync::new()?),
        #[cfg(not(target_os = "linux"))]
        TrackerKind::WpAsync => return Err(Errno::NOSYS),
        #[cfg(windows)]
        TrackerKind::WriteWatch => Box::new(write_watch::WriteWatch),
        #[cfg(not(windows))]
        TrackerKind::WriteWatch => return Err(Errno::NOSYS),
        #[cfg(any(target_os = "linux", windows))]
        TrackerKind::Fault => Box::new(fault::Fault::new()?),
        #[cfg(not(any(target_os = "linux", windows)))]
        TrackerKind::Fault => return Err(Errno::NOSYS),
        TrackerKind::Compare | TrackerKind::Whole => Box::new(everything::Everything),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for kind in TrackerKind::ALL {
            assert_eq!(kind.name().parse::<TrackerKind>().unwrap(), kind);
        }
        let wrong = "soft-dirty".parse::<TrackerKind>().unwrap_err();
        assert!(wrong.to_string().contains("soft-dirty"));
    }
}
