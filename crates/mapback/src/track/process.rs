//! The trackers that all maps of the safe face in this process share: one of each kind, made when first wanted.

use super::{Tracker, TrackerKind, make};
use crate::sys::{Errno, os};
use std::sync::{Mutex, PoisonError};

static SLOTS: [Mutex<Option<Box<dyn Tracker>>>; 4] = [const { Mutex::new(None) }; 4];

/// Does something with the process's tracker of one kind, which nobody else uses meanwhile.
///
/// # Errors
/// Why this system cannot have it, or what `act` says.
pub(crate) fn with<T>(
    kind: TrackerKind,
    act: impl FnOnce(&mut dyn Tracker) -> Result<T, Errno>,
) -> Result<T, Errno> {
    // The contract of `fault`: a handler must not interrupt who is changing a page's protection.
    let _blocked = os::signal::Blocked::new();
    let nth = TrackerKind::ALL.iter().position(|k| *k == kind).expect("one of all");
    let mut slot = SLOTS[nth].lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *slot {
        Some(tracker) => act(&mut **tracker),
        none => act(&mut **none.insert(make(kind)?)),
    }
}
