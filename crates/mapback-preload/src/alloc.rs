//! An allocator of the library's own.
//!
//! The program's `malloc` may be an arena that calls `mmap`, and so us, while it holds its locks; we may be called
//! before it is set up, or from a thread that died in it. So our memory comes straight from the kernel.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};
use dlmalloc::{Allocator, Dlmalloc};
use mapback::raw::{self, Sysno, signal::Blocked};
use rustix_futex_sync::Mutex;

/// Memory by raw system calls.
struct Kernel;

const READ_WRITE: usize = 3;
const PRIVATE_ANONYMOUS: usize = 0x22;
const NO_FD: usize = usize::MAX;

// SAFETY: `alloc` gives fresh zeroed memory of the kernel's, at least as large as asked, or null and 0.
unsafe impl Allocator for Kernel {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        reserve();
        // SAFETY: the kernel chooses an address that is free.
        let got = unsafe { raw::call(Sysno::mmap, [0, size, READ_WRITE, PRIVATE_ANONYMOUS, NO_FD, 0]) };
        let got = got.ok().or_else(|| from_reserve(size));
        got.map_or((core::ptr::null_mut(), 0, 0), |addr| (addr as *mut u8, size, 0))
    }

    fn remap(&self, ptr: *mut u8, old: usize, new: usize, can_move: bool) -> *mut u8 {
        if in_reserve(ptr as usize) {
            return core::ptr::null_mut();
        }
        let args = [ptr as usize, old, new, usize::from(can_move), 0, 0];
        // SAFETY: dlmalloc gives a chunk that it had from `alloc` and that nobody uses now.
        unsafe { raw::call(Sysno::mremap, args) }.map_or(core::ptr::null_mut(), |addr| addr as *mut u8)
    }

    fn free_part(&self, ptr: *mut u8, old: usize, new: usize) -> bool {
        if in_reserve(ptr as usize) {
            return false;
        }
        // SAFETY: as above; the tail is given up.
        unsafe { raw::call(Sysno::munmap, [ptr as usize + new, old - new, 0, 0, 0, 0]) }.is_ok()
    }

    fn free(&self, ptr: *mut u8, size: usize) -> bool {
        if in_reserve(ptr as usize) {
            // The memory goes back; the room is not used again.
            // SAFETY: dlmalloc gives a chunk that it had from `alloc` and that nobody uses now.
            return unsafe { raw::call(Sysno::madvise, [ptr as usize, size, DONTNEED, 0, 0, 0]) }.is_ok();
        }
        // SAFETY: as above.
        unsafe { raw::call(Sysno::munmap, [ptr as usize, size, 0, 0, 0, 0]) }.is_ok()
    }

    fn can_release_part(&self, _flags: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        rustix::param::page_size()
    }
}

/// Room for when the kernel gives no more maps (`max_map_count`): what a program did to its own maps must not end it
/// because we find no memory to note that. It costs address space only.
const RESERVE: usize = 256 << 20;
const NO_RESERVE: usize = 0x4000;
const DONTNEED: usize = 4;
static RESERVED: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

/// Sets the room aside, once. Called under the heap's lock.
fn reserve() {
    if RESERVED.load(Ordering::Relaxed) == 0 {
        let flags = PRIVATE_ANONYMOUS | NO_RESERVE;
        // SAFETY: the kernel chooses an address that is free.
        let got = unsafe { raw::call(Sysno::mmap, [0, RESERVE, READ_WRITE, flags, NO_FD, 0]) };
        RESERVED.store(got.unwrap_or(usize::MAX), Ordering::Relaxed);
    }
}

fn in_reserve(at: usize) -> bool {
    let start = RESERVED.load(Ordering::Relaxed);
    start != usize::MAX && (start..start + RESERVE).contains(&at)
}

fn from_reserve(size: usize) -> Option<usize> {
    let (start, used) = (RESERVED.load(Ordering::Relaxed), USED.load(Ordering::Relaxed));
    if start == usize::MAX || size > RESERVE - used {
        return None;
    }
    USED.store(used + size, Ordering::Relaxed);
    Some(start + used)
}

struct Heap(UnsafeCell<Dlmalloc<Kernel>>);
// SAFETY: only touched while LOCK is held.
unsafe impl Sync for Heap {}

static HEAP: Heap = Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Kernel)));
static LOCK: Mutex<()> = Mutex::new(());

/// The global allocator.
pub(crate) struct Own;

/// Uses the heap under its lock, with signals blocked: a handler must not wait for what it interrupted.
fn with<T>(use_it: impl FnOnce(&mut Dlmalloc<Kernel>) -> T) -> T {
    let _blocked = Blocked::new();
    let _lock = LOCK.lock();
    // SAFETY: the lock makes this the only reference.
    use_it(unsafe { &mut *HEAP.0.get() })
}

// SAFETY: dlmalloc's contract is GlobalAlloc's, and `with` makes each use exclusive.
unsafe impl GlobalAlloc for Own {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller had `ptr` from here with this layout.
        with(|heap| unsafe { heap.free(ptr, layout.size(), layout.align()) });
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller had `ptr` from here with this layout.
        with(|heap| unsafe { heap.realloc(ptr, layout.size(), layout.align(), new_size) })
    }
}

/// Takes the heap's lock over a fork.
pub(crate) fn before_fork() {
    core::mem::forget(LOCK.lock());
}

/// Ends [`before_fork`].
///
/// # Safety
/// `before_fork` must have been called by this thread, or by the one that it was forked from.
pub(crate) unsafe fn after_fork() {
    // SAFETY: held, its guard forgotten.
    unsafe { LOCK.force_unlock() };
}
