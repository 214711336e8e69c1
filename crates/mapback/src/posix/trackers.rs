//! The trackers of this process, made when first needed, and which to try in which order.

use crate::sys::Errno;
use crate::track::{self, Sink, Tracker, TrackerKind};
use core::ops::Range;

/// What is tried first. Memory that other processes see has no write-watch.
const DEFAULT: TrackerKind = if cfg!(windows) { TrackerKind::Fault } else { TrackerKind::WpAsync };

/// One tracker of each kind that is in use.
pub(crate) struct Trackers {
    wanted: Option<TrackerKind>,
    made: Vec<(TrackerKind, Box<dyn Tracker>)>,
    broken: Vec<TrackerKind>,
}

impl Trackers {
    /// `wanted`: the one to use; without, the best that works.
    pub(crate) fn new(wanted: Option<TrackerKind>) -> Trackers {
        Trackers { wanted, made: Vec::new(), broken: Vec::new() }
    }

    /// Whether images need a pristine copy.
    pub(crate) fn compares(&self) -> bool {
        self.wanted == Some(TrackerKind::Compare)
    }

    /// Whether images are this process's alone.
    #[cfg(windows)]
    pub(crate) fn alone(&self) -> bool {
        self.wanted == Some(TrackerKind::WriteWatch)
    }

    /// In which order to try. `whole` always works. With `compare` no other may take its place: the pristine
    /// copy narrows down what it reports.
    fn order(&self) -> impl Iterator<Item = TrackerKind> + use<> {
        let first = self.wanted.unwrap_or(DEFAULT);
        let rest = [TrackerKind::Fault, TrackerKind::Whole].into_iter().filter(move |k| *k != first);
        core::iter::once(first).chain(rest)
    }

    /// The tracker of one kind.
    fn get(&mut self, kind: TrackerKind) -> Result<&mut Box<dyn Tracker>, Errno> {
        if let Some(nth) = self.made.iter().position(|(k, _)| *k == kind) {
            return Ok(&mut self.made[nth].1);
        }
        if self.broken.contains(&kind) {
            return Err(Errno::NOSYS);
        }
        match track::make(kind) {
            Ok(tracker) => {
                self.made.push((kind, tracker));
                Ok(&mut self.made.last_mut().expect("just pushed").1)
            }
            Err(errno) => {
                self.broken.push(kind);
                Err(errno)
            }
        }
    }

    /// Begins to track a range with the first tracker that can, and says which.
    ///
    /// # Errors
    /// None could: the protection cannot be had (`ENOMEM`).
    pub(crate) fn arm(&mut self, range: &Range<usize>, desired: i32) -> Result<TrackerKind, Errno> {
        let mut last = Errno::NOSYS;
        for kind in self.order() {
            // An empty range only asks who would track.
            let arm = |t: &mut Box<dyn Tracker>| {
                if range.is_empty() { Ok(()) } else { t.arm(range.clone(), desired) }
            };
            match self.get(kind).and_then(arm) {
                Ok(()) => return Ok(kind),
                Err(errno) => last = errno,
            }
        }
        Err(last)
    }

    /// As [`Tracker::collect`].
    pub(crate) fn collect(
        &mut self,
        kind: TrackerKind,
        range: &Range<usize>,
        sink: Sink<'_>,
    ) -> Result<(), Errno> {
        self.get(kind)?.collect(range.clone(), sink)
    }

    /// As [`Tracker::protect`].
    pub(crate) fn protect(
        &mut self,
        kind: TrackerKind,
        range: &Range<usize>,
        desired: i32,
    ) -> Result<(), Errno> {
        self.get(kind)?.protect(range.clone(), desired)
    }

    /// As [`Tracker::retire`].
    pub(crate) fn retire(
        &mut self,
        kind: TrackerKind,
        range: &Range<usize>,
        last: i32,
        sink: Sink<'_>,
    ) -> Result<(), Errno> {
        self.get(kind)?.retire(range.clone(), last, sink)
    }

    /// As [`Tracker::forked`].
    pub(crate) fn forked(&mut self) {
        for (_, tracker) in &mut self.made {
            tracker.forked();
        }
    }
}

impl core::fmt::Debug for Trackers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let made: Vec<_> = self.made.iter().map(|(k, _)| k).collect();
        f.debug_struct("Trackers").field("made", &made).field("broken", &self.broken).finish()
    }
}
