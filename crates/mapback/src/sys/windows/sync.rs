//! A mutex over a slim reader/writer lock, which the last thread of a process can take from a dead owner.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use lock_api::GuardSend;
use windows_sys::Win32::System::Threading::{
    AcquireSRWLockExclusive, ReleaseSRWLockExclusive, SRWLOCK, SRWLOCK_INIT, TryAcquireSRWLockExclusive,
};

/// Every other thread of this process has been ended, wherever it was.
static LAST: AtomicBool = AtomicBool::new(false);

/// Says that this is the only thread left: a lock that is taken will never be released by its owner.
pub(crate) fn only_thread_left() {
    LAST.store(true, Ordering::Release);
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct RawMutex(UnsafeCell<usize>);

// SAFETY: the word is used by the lock's own calls alone, which are made for threads.
unsafe impl Send for RawMutex {}
// SAFETY: as above.
unsafe impl Sync for RawMutex {}

impl RawMutex {
    fn lock(&self) -> *mut SRWLOCK {
        const { assert!(size_of::<SRWLOCK>() == size_of::<usize>()) };
        self.0.get().cast()
    }
}

// SAFETY: an SRW lock that is held exclusively is held by one at a time. Once `LAST` is set no other thread runs.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawMutex = {
        assert!(SRWLOCK_INIT.Ptr.is_null());
        RawMutex(UnsafeCell::new(0))
    };
    type GuardMarker = GuardSend;

    fn lock(&self) {
        if LAST.load(Ordering::Acquire) {
            self.try_lock();
            return;
        }
        // SAFETY: a lock that was initialized as it must be, and stays where it is.
        unsafe { AcquireSRWLockExclusive(RawMutex::lock(self)) }
    }

    fn try_lock(&self) -> bool {
        // SAFETY: as above.
        unsafe { TryAcquireSRWLockExclusive(RawMutex::lock(self)) }
    }

    unsafe fn unlock(&self) {
        // SAFETY: held exclusively, by the caller's word. With one thread left it may have been another's.
        unsafe { ReleaseSRWLockExclusive(RawMutex::lock(self)) }
    }
}

/// A mutex.
pub(crate) type Mutex<T> = lock_api::Mutex<RawMutex, T>;
/// Its guard.
pub(crate) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;
