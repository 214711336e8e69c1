//! What a map held at an instant.

use crate::image::working::Frozen;
use std::fmt;
use std::ops::Deref;

/// What a [`MmapMut`](crate::MmapMut) held at an instant, as a `&[u8]`. It outlives the map, if need be.
///
/// Made by [`MmapMut::snapshot`](crate::MmapMut::snapshot).
pub struct Snapshot {
    frozen: Frozen,
}

// SAFETY: the memory belongs to the snapshot, and nobody ever stores to it.
unsafe impl Send for Snapshot {}
// SAFETY: as above.
unsafe impl Sync for Snapshot {}

impl Snapshot {
    pub(super) fn new(frozen: Frozen) -> Snapshot {
        Snapshot { frozen }
    }
}

impl Deref for Snapshot {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.frozen.bytes()
    }
}

impl AsRef<[u8]> for Snapshot {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("len", &self.len()).finish()
    }
}
