//! `msync`, and writing everything back.

use super::{Pending, Space, both, joined, registry, span};
use crate::image::{Image, Next, shared};
use crate::sys::Errno;
use crate::sys::os::{self, mem, signal::Blocked};
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
        for (image, bytes) in &parts {
            image.gather(bytes);
        }
        let mut done = Ok(());
        let next = if flags & mem::MS_SYNC != 0 { Next::Sync } else { Next::Nothing };
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
        self.flush(false);
    }

    /// As [`Space::flush_all`], for what all processes changed in all files: before `sync`.
    pub fn flush_everybody(&self) {
        self.flush(true);
        let Some(dir) = self.dir().filter(|_| registry::may_have_images() && !self.is_foreign()) else {
            return;
        };
        for name in shared::all(&dir).unwrap_or_default() {
            let own = self.enter().images.keys().any(|id| shared::name_of(id) == name);
            if own || name.contains('~') {
                continue;
            }
            // What cannot be opened is left to the processes that have it.
            let found = Image::find_file(&dir, &name).and_then(|file| Image::found(&dir, &name, &file));
            if let Some(image) = found.ok().filter(Image::is_ready) {
                image.gather(&(0..u64::MAX));
                let _blocked = Blocked::new();
                if let Err(error) = image.write_back(0..u64::MAX, Next::Nothing) {
                    self.report(&error.to_string());
                }
            }
        }
    }

    fn flush(&self, everybody: bool) {
        if self.own_images() == 0 || self.is_foreign() {
            return;
        }
        let all: Pending = {
            let mut state = self.enter();
            let images: Vec<_> = state.images.values().cloned().collect();
            for image in &images {
                state.collect(image, &(0..u64::MAX));
            }
            images.into_iter().map(|image| (image.clone(), 0..u64::MAX)).collect()
        };
        if everybody {
            all.iter().for_each(|(image, bytes)| image.gather(bytes));
        }
        self.finish(all);
    }

    /// The last thing that a process does, after [`Space::flush_all`]: it takes its leave of the others. Does nothing
    /// where another thread may still store; what it stores is found to differ from the file by who looks next.
    pub fn depart(&self) {
        if self.own_images() == 0 || self.is_foreign() || !os::is_single_threaded() {
            return;
        }
        let state = self.enter();
        for image in state.images.values().filter(|image| image.is_clean()) {
            if image.leave() {
                registry::remove(&image.id);
            }
        }
    }

    /// Before `exec`, after [`Space::flush_all`]: should the process end now, it leaves nothing to write. `false`: it
    /// goes on.
    pub fn owes_nothing(&self, nothing: bool) {
        if self.own_images() == 0 || self.is_foreign() || (nothing && !os::is_single_threaded()) {
            return;
        }
        for image in self.enter().images.values().filter(|image| image.is_clean()) {
            // What fails leaves the debt as it is, or costs a comparison.
            let _ = image.set_owes(!nothing);
        }
    }
}
