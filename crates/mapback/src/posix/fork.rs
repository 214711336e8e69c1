//! `fork`: the child has the same memory and none of the parent's threads, trackers or duties.

use super::{Space, registry};
use crate::sys::os::{self, signal::Blocked};
use crate::track::{TrackerKind, fault};
use core::sync::atomic::Ordering;

impl Space {
    /// Before a fork: writes everything back, so that neither side owes what both know of, and takes all locks, so
    /// that no work of another thread is cut in two in the child.
    pub fn before_fork(&self) {
        self.flush_all();
        let blocked = Blocked::new();
        let mut state = self.enter();
        for image in state.images.values() {
            image.lock_for_fork();
            // For the child, which others have to reckon with from its first moment; without a child it is one too many.
            registry::add_for_others(&image.id);
        }
        crate::store::before_fork();
        core::mem::forget(self.shared.lock());
        state.over_fork = Some(blocked);
        core::mem::forget(state);
    }

    /// After a fork, in the parent.
    ///
    /// # Safety
    /// The same thread must have called [`Space::before_fork`] just before.
    pub unsafe fn after_fork_in_parent(&self) {
        // SAFETY: passed on.
        unsafe { self.after_fork(false) }
    }

    /// After a fork, in the child: arms every shared map anew, since the kernel's tracking and other threads'
    /// faults did not come along.
    ///
    /// # Safety
    /// The thread that was forked must have called [`Space::before_fork`] just before.
    pub unsafe fn after_fork_in_child(&self) {
        // SAFETY: passed on.
        unsafe { self.after_fork(true) }
    }

    unsafe fn after_fork(&self, child: bool) {
        // SAFETY: `before_fork` took the lock on this thread and forgot the guard; it is held right now.
        let state = unsafe { &mut *self.state.data_ptr() };
        let blocked = state.over_fork.take();
        // SAFETY: `before_fork` took both.
        unsafe {
            self.shared.force_unlock();
            crate::store::after_fork();
        }
        for image in state.images.values() {
            // SAFETY: `before_fork` locked each image that there is, and the table could not change since.
            unsafe { image.unlock_after_fork(child) };
        }
        if child {
            self.pid.store(os::pid(), Ordering::Relaxed);
            state.trackers.forked();
            state.reset_stats();
            // Their locks are the parent's.
            state.visited.clear();
            for (range, mut map) in state.maps.all() {
                if map.no_fork {
                    state.maps.remove(&range);
                } else if let Some(kind) = map.tracker {
                    if kind == TrackerKind::Fault {
                        fault::forked(&range);
                    }
                    if state.arm(&range, &mut map).is_err() {
                        map.tracker = Some(TrackerKind::Whole);
                    }
                    state.maps.insert(range, map);
                }
            }
        }
        // SAFETY: held, as above; the guard was forgotten.
        unsafe { self.state.force_unlock() };
        drop(blocked);
    }
}
