//! What this system offers, for `mapback doctor`.

use crate::posix::Config;
use crate::sys::Errno;
use crate::sys::os::{self, pagemap, shm::Shm, uffd};
use crate::track::{self, TrackerKind};

/// What the system offers. Each answer was asked for right now.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The kernel's release, like `6.18.0`.
    pub kernel: String,
    /// Memory files, the memory of images.
    pub memfd: Result<(), Errno>,
    /// userfaultfd for faults of user mode, and its feature bits.
    pub userfaultfd: Result<u64, Errno>,
    /// The kernel resolves write-protection faults itself.
    pub wp_async: bool,
    /// Pages that are not there yet can be protected.
    pub wp_unpopulated: bool,
    /// Shared memory can be protected.
    pub wp_shmem: bool,
    /// The `PAGEMAP_SCAN` call.
    pub pagemap_scan: Result<(), Errno>,
    /// How many maps a process may have, which bounds the `fault` tracker's precision.
    pub max_map_count: Option<u64>,
    /// Size of a page in bytes.
    pub page_size: usize,
}

/// Asks the system.
pub fn capabilities() -> Capabilities {
    let features = uffd::features();
    let has = |bit| features.is_ok_and(|f| f & bit != 0);
    Capabilities {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        memfd: Shm::new().map(drop),
        userfaultfd: features,
        wp_async: has(uffd::FEATURE_WP_ASYNC),
        wp_unpopulated: has(uffd::FEATURE_WP_UNPOPULATED),
        wp_shmem: has(uffd::FEATURE_WP_HUGETLBFS_SHMEM),
        pagemap_scan: pagemap::probe(),
        max_map_count: std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|s| s.trim().parse().ok()),
        page_size: os::page_size(),
    }
}

/// Whether a tracker can be had here, found out by making one.
///
/// # Errors
/// Why not.
pub fn try_tracker(kind: TrackerKind) -> Result<(), Errno> {
    track::make(kind).map(drop)
}

/// The tracker that maps get unless told otherwise.
pub fn preferred_tracker() -> TrackerKind {
    let order = [TrackerKind::WpAsync, TrackerKind::Fault];
    order.into_iter().find(|k| try_tracker(*k).is_ok()).unwrap_or(TrackerKind::Whole)
}

/// Whether files on the file system of an open file are served at all.
pub fn is_served(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    Config::default().serves(fd)
}
