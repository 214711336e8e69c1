//! Which files may have an image, in any process of the user: so that a `read` or `write` of a file that has none costs
//! a few loads.
//!
//! A table that all processes share counts, per hash of device and inode, the images that were made. A process that
//! was killed does not count down: too high a count costs a look for the image, once in a generation. Each descriptor
//! remembers the generation of the table at which its file was found without image; whoever makes one begins a new
//! generation before it can be found, and one when it can, before anything is stored to it.

use super::policy::Share;
use crate::sys::os::file::{self, FileId, digest};
use crate::sys::os::{self, fd, sysv};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU32, AtomicU64, Ordering};

const COUNTS: usize = 4096;
/// Descriptors that are remembered.
const FDS: usize = 4096;
/// Numbers that are tried: somebody else may have the first.
const KEYS: i32 = 8;

#[repr(C)]
struct Table {
    generation: AtomicU32,
    images: AtomicU32,
    counts: [AtomicU16; COUNTS],
}

/// The table of this process alone, until it finds that of all.
static OWN: Table = Table {
    generation: AtomicU32::new(0),
    images: AtomicU32::new(0),
    counts: [const { AtomicU16::new(0) }; COUNTS],
};

/// The user whose table that is.
static USER: AtomicU32 = AtomicU32::new(u32::MAX);
/// Whether there was another user's before: what was counted there must not be taken off here.
static MOVED: AtomicBool = AtomicBool::new(false);
/// The tables that are attached, by their users: a program may go back and forth between two.
static ATTACHED: [(AtomicU32, AtomicPtr<Table>); 8] =
    [const { (AtomicU32::new(u32::MAX), AtomicPtr::new(core::ptr::null_mut())) }; 8];

static TABLE: AtomicPtr<Table> = AtomicPtr::new((&raw const OWN).cast_mut());

/// Per descriptor: above, how often it was forgotten; below, the generation at which its file had no image.
static SEEN: [AtomicU64; FDS] = [const { AtomicU64::new(0) }; FDS];

#[inline]
fn table() -> &'static Table {
    // SAFETY: `OWN`, or a segment of at least this size that stays attached for good. All fields are atomics, valid
    // for any bytes.
    unsafe { &*TABLE.load(Ordering::Relaxed) }
}

/// Finds the table of all processes of the user whom this process is now, if it is not that already. Without it, every
/// regular file may have an image in another process. One thread at a time.
pub(super) fn connect(share: &Share) {
    let user = os::effective_uid();
    if *share == Share::No || USER.swap(user, Ordering::Relaxed) == user {
        return;
    }
    forget_all_fds();
    let table = attached(user);
    static COUNTED: AtomicBool = AtomicBool::new(false);
    if table == (&raw const OWN).cast_mut() && !COUNTED.swap(true, Ordering::Relaxed) {
        // Counted as one image more than there are, in every place.
        OWN.images.fetch_add(1, Ordering::Relaxed);
        for count in &OWN.counts {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    let before = TABLE.swap(table, Ordering::Relaxed);
    if before != table && before != (&raw const OWN).cast_mut() {
        MOVED.store(true, Ordering::Relaxed);
    }
    forget_all_fds();
}

/// The table of a user's processes; that of this process alone, if there can be none.
fn attached(user: u32) -> *mut Table {
    let free = u32::MAX;
    let known = ATTACHED.iter().find(|(of, _)| of.load(Ordering::Relaxed) == user && user != free);
    if let Some((_, table)) = known {
        return table.load(Ordering::Relaxed);
    }
    let Some(addr) = found(user) else { return (&raw const OWN).cast_mut() };
    let table = addr as *mut Table;
    // SAFETY: a segment of at least this size that stays attached for good; all fields are atomics.
    let _ = unsafe { &*table }.generation.fetch_max(1, Ordering::Relaxed);
    if let Some((of, place)) = ATTACHED.iter().find(|(of, _)| of.load(Ordering::Relaxed) == free) {
        place.store(table, Ordering::Relaxed);
        of.store(user, Ordering::Relaxed);
    }
    table
}

/// Where the segment of a user is attached.
fn found(user: u32) -> Option<usize> {
    let uid = u64::from(user);
    let first =
        (digest(b"mapback") ^ uid.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as i32 & 0x3fff_fff0 | 0x4000_0000;
    let find = |make| (first..first + KEYS).find_map(|key| sysv::attach(key, size_of::<Table>(), make).ok());
    // One that is there already comes first, so that all agree even when an earlier number becomes free.
    find(false).or_else(|| find(true))
}

impl Table {
    fn count(&self, dev: u64, ino: u64) -> &AtomicU16 {
        let hash = (dev ^ ino.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.counts[(hash >> 52) as usize % COUNTS]
    }

    fn add(&self, id: &FileId) {
        let more = |n: u16| Some(n.saturating_add(1));
        let _ = self.count(id.dev, id.ino).fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        self.images.fetch_add(1, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn remove(&self, id: &FileId) {
        // A count that has been at its limit is never sure again.
        let less = |n: u16| (n != 0 && n != u16::MAX).then(|| n - 1);
        let _ = self.count(id.dev, id.ino).fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let _ = self.images.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    }

    /// Whether this is the table of more processes than this one.
    fn is_shared(&self) -> bool {
        !core::ptr::eq(self, &OWN)
    }
}

/// An image is going to be made. What this process has is counted in its own table as well, which it goes on looking into
/// when it has become another user.
pub(super) fn add(id: &FileId) {
    OWN.add(id);
    add_for_others(id);
}

/// The same for a child that is going to be forked: it has a copy of the process's own table.
pub(super) fn add_for_others(id: &FileId) {
    let table = table();
    if table.is_shared() {
        table.add(id);
    }
}

/// An image that was added can be found from now on: who looked for it before has to look again.
pub(super) fn announce() {
    table().generation.fetch_add(1, Ordering::Release);
}

/// Ends one [`add`].
pub(super) fn remove(id: &FileId) {
    OWN.remove(id);
    let table = table();
    if table.is_shared() && !MOVED.load(Ordering::Relaxed) {
        table.remove(id);
    }
}

/// Whether any file may have an image, in this process or another. A load.
#[inline]
pub fn may_have_images() -> bool {
    table().images.load(Ordering::Acquire) != 0 || OWN.images.load(Ordering::Acquire) != 0
}

/// Whether the file behind a descriptor may have an image, in this process or another. A few loads, most of the time.
#[inline]
pub fn may_have_image(fd: i32) -> bool {
    let table = table();
    if table.images.load(Ordering::Relaxed) == 0 && OWN.images.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let generation = table.generation.load(Ordering::Acquire);
    match SEEN.get(fd as usize) {
        Some(seen) if seen.load(Ordering::Relaxed) as u32 == generation && generation != 0 => false,
        _ => looks_like_one(fd),
    }
}

#[cold]
fn looks_like_one(number: i32) -> bool {
    let look = Look::new(number);
    let Ok(facts) = fd::borrow(number).and_then(file::facts) else { return false };
    let counted = |table: &Table| table.count(facts.dev, facts.ino).load(Ordering::Relaxed) != 0;
    if facts.regular && (counted(table()) || counted(&OWN)) {
        return true;
    }
    look.remember();
    false
}

fn seen(fd: i32) -> u64 {
    SEEN.get(fd as usize).map_or(0, |seen| seen.load(Ordering::Acquire))
}

/// A look for the image of the file behind a descriptor, from before it began.
pub(super) struct Look {
    number: i32,
    before: u64,
    generation: u32,
}

impl Look {
    /// To be called before anything is looked at.
    pub(super) fn new(number: i32) -> Look {
        Look { number, before: seen(number), generation: table().generation.load(Ordering::Acquire) }
    }

    /// No process had one, so that the descriptor need not be looked at again in this generation.
    pub(super) fn found_none(self) {
        // A table of our own does not tell when others make one.
        if table().is_shared() {
            self.remember();
        }
    }

    fn remember(self) {
        if let Some(seen) = SEEN.get(self.number as usize) {
            // Not if it was forgotten meanwhile: it may be another file by now.
            let now = self.before & !0xffff_ffff | u64::from(self.generation);
            let _ = seen.compare_exchange(self.before, now, Ordering::Release, Ordering::Relaxed);
        }
    }
}

/// A descriptor stands for something else from now on.
#[inline]
pub fn forget_fd(fd: i32) {
    if let Some(seen) = SEEN.get(fd as usize) {
        let _ = seen.fetch_update(Ordering::Release, Ordering::Relaxed, |n| Some(((n >> 32) + 1) << 32));
    }
}

/// Any descriptor may stand for something else from now on.
pub fn forget_all_fds() {
    (0..FDS as i32).for_each(forget_fd);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_file_has_one_from_add_to_remove_and_a_descriptor_is_forgotten() {
        let path = std::env::temp_dir().join(format!("mapback-registry-{}", crate::sys::os::pid()));
        let file = std::fs::File::create(&path).unwrap();
        let other = std::fs::File::open("/proc/self/exe").unwrap();
        let id = file::identity(fd::borrow(file.as_raw_fd()).unwrap()).unwrap();
        assert!(!may_have_image(file.as_raw_fd()));
        add(&id);
        assert!(may_have_images() && may_have_image(file.as_raw_fd()));
        assert!(!may_have_image(other.as_raw_fd()) && !may_have_image(other.as_raw_fd()));
        // The number stands for the file now, behind the table's back, and then with its knowledge.
        rustix::io::dup2(&file, &mut unsafe_owned(other.as_raw_fd())).unwrap();
        assert!(!may_have_image(other.as_raw_fd()));
        forget_fd(other.as_raw_fd());
        assert!(may_have_image(other.as_raw_fd()));
        remove(&id);
        assert!(!may_have_image(file.as_raw_fd()));
        std::fs::remove_file(path).unwrap();
    }

    /// The number as an owner that never closes it.
    fn unsafe_owned(fd: i32) -> core::mem::ManuallyDrop<rustix::fd::OwnedFd> {
        use std::os::fd::FromRawFd;
        // SAFETY: open, and never closed by this owner.
        core::mem::ManuallyDrop::new(unsafe { rustix::fd::OwnedFd::from_raw_fd(fd) })
    }
}
