//! Open files and directories, by the handle that the kernel passes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::FileHandle;
use rustix::io::Errno;

/// A numbered set of things that are open.
pub struct Handles<T>(Mutex<Open<T>>);

struct Open<T> {
    next: u64,
    items: HashMap<u64, Arc<T>>,
}

impl<T> Handles<T> {
    /// A set in which nothing is open.
    pub fn new() -> Handles<T> {
        Handles(Mutex::new(Open { next: 1, items: HashMap::new() }))
    }

    /// Adds an item and returns its handle.
    pub fn add(&self, item: T) -> FileHandle {
        let mut open = self.lock();
        let handle = open.next;
        open.next += 1;
        open.items.insert(handle, Arc::new(item));
        FileHandle(handle)
    }

    /// The item of a handle.
    pub fn get(&self, handle: FileHandle) -> Result<Arc<T>, Errno> {
        self.lock().items.get(&handle.0).map(Arc::clone).ok_or(Errno::BADF)
    }

    /// Forgets a handle; the item goes with the last call that still uses it.
    pub fn remove(&self, handle: FileHandle) {
        self.lock().items.remove(&handle.0);
    }

    fn lock(&self) -> MutexGuard<'_, Open<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
