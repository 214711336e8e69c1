//! `msync`, and writing everything back.

use super::{Pending, Space, both, joined, span};
use crate::image::Next;
use crate::sys::Errno;
use crate::sys::os::{mem, signal::Blocked};
use std::sync::Arc;

impl Space {
    /// `msync`: writes the changes in the range back, through whichever map of the file they were made; with
    /// `MS_SYNC` returns when they are on the storage; with `MS_INVALIDATE` takes over what others wrote.
    ///
    /// # Errors
    /// Those of `msync`; those of the write (`EIO`, `ENOSPC`, `EDQUOT`…), in which case the pages stay changed.
    pub fn msync(&self, addr: usize, len: usize, flags: i32) -> Result<(), Errno> {
        // The kernel checks the arguments, serves its own maps, and knows what is locked or not mapped.
        let asked = mem::msync(addr, len, flags);
        let whole = span(addr, len).filter(|_| self.has_maps());
        let (Some(range), Ok(()) | Err(Errno::NOMEM)) = (whole, asked) else { return asked };
        let parts = {
            let mut state = self.enter();
            let shared = state.maps.overlapping(&range).into_iter().filter(|(_, m)| m.shared);
            let parts = joined(shared.map(|(part, map)| (map.image.clone(), map.bytes(&part))));
            for (image, bytes) in &parts {
                state.collect(image, bytes);
            }
            parts
        };
        let mut done = Ok(());
        let next = if flags & mem::MS_SYNC != 0 { Next::Sync } else { Next::Nothing };
        // Nobody tells us when the length of a file changes.
        for (image, _) in &parts {
            done = both(done, self.follow(image));
        }
        for (image, bytes) in &parts {
            let _blocked = Blocked::new();
            done = both(done, image.write_back(bytes.clone(), next).map_err(|e| e.errno));
        }
        if flags & mem::MS_SYNC != 0 {
            let mut synced = Vec::new();
            for (image, _) in &parts {
                if !synced.iter().any(|i| Arc::ptr_eq(i, image)) {
                    done = both(done, image.sync());
                    synced.push(image.clone());
                }
            }
        }
        if flags & mem::MS_INVALIDATE != 0 {
            for (image, bytes) in &parts {
                done = both(done, self.refresh(image, bytes));
            }
        }
        both(done, asked)
    }

    /// Writes all changes of all files back, without waiting for the storage: at exit, before `exec`, when a timer
    /// fires. Failures are reported. Does nothing in a process that merely borrows the address space.
    pub fn flush_all(&self) {
        if !self.has_images() || self.is_foreign() {
            return;
        }
        let all: Pending = {
            let mut state = self.enter();
            let images: Vec<_> = state.images.values().cloned().collect();
            for image in &images {
                state.collect(image, &(0..image.len()));
            }
            images.into_iter().map(|image| (image.clone(), 0..image.len())).collect()
        };
        self.finish(all);
    }
}
