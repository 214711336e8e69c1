//! `mmap`.

use super::policy::{Candidate, is_refusal};
use super::state::State;
use super::table::Map;
use super::{Mode, Request, Space, joined, registry, span};
use crate::image::Image;
use crate::stats::add;
use crate::sys::Errno;
use crate::sys::os::{fd, file, mem};
use core::ops::Range;
use core::sync::atomic::Ordering;
use std::sync::Arc;

impl Space {
    /// `mmap`: serves the request or passes it to the kernel.
    ///
    /// # Safety
    /// As `mmap`: with `MAP_FIXED` what is mapped at the address is replaced.
    ///
    /// # Errors
    /// Those of `mmap`.
    pub unsafe fn mmap(&self, req: Request) -> Result<usize, Errno> {
        if req.flags & mem::MAP_ANONYMOUS != 0 || req.fd < 0 || fd::is_guarded(req.fd) {
            // SAFETY: the caller's own request.
            return unsafe { self.kernel_mmap(req) };
        }
        match self.decide(&req) {
            // SAFETY: the caller's own request.
            Some(file) => unsafe { self.serve(req, file) },
            // SAFETY: as above.
            None => unsafe { self.kernel_mmap(req) },
        }
    }

    /// Whether to serve a request.
    fn decide(&self, req: &Request) -> Option<Candidate> {
        let fd = fd::borrow(req.fd).ok()?;
        let file = self.config.candidate(req, fd).ok()??;
        // Two views of one file must agree: whoever has an image is served from it.
        if self.image_of(req.fd).is_some() {
            return Some(file);
        }
        let shared = req.flags & mem::MAP_TYPE != mem::MAP_PRIVATE;
        let wanted = match self.config.mode {
            Mode::All => true,
            Mode::Auto => shared && self.is_refused(req),
        };
        (wanted && self.config.serves(fd)).then_some(file)
    }

    /// Whether the file system refuses this request, for reasons of its own: asks without the address, so that
    /// nothing is replaced, and does not keep the map.
    fn is_refused(&self, req: &Request) -> bool {
        let flags = req.flags & !(mem::MAP_FIXED | mem::MAP_FIXED_NOREPLACE);
        // SAFETY: the kernel chooses an address that is free.
        match unsafe { mem::mmap(0, req.len, req.prot, flags, req.fd, req.off) } {
            Ok(addr) => {
                // SAFETY: mapped in the line above, known to nobody.
                let _ = unsafe { mem::munmap(addr, req.len) };
                false
            }
            Err(errno) => is_refusal(errno),
        }
    }

    /// Passes a request to the kernel; what it replaces of ours is ended first, as `munmap` would.
    unsafe fn kernel_mmap(&self, req: Request) -> Result<usize, Errno> {
        let Request { addr, len, prot, flags, fd, off } = req;
        // SAFETY: the caller's own request.
        let ask = || unsafe { mem::mmap(addr, len, prot, flags, fd, off) };
        match replaced(&req) {
            Some(range) if self.has_maps() => self.replacing(range.clone(), |state| {
                let mapped = ask()?;
                state.maps.remove(&range);
                Ok(mapped)
            }),
            _ => ask(),
        }
    }

    /// Does something that replaces whatever is mapped in `range`, with the changes there collected before; undoes
    /// that if it fails. `act` takes the old parts out of the table.
    pub(super) fn replacing<T>(
        &self,
        range: Range<usize>,
        act: impl FnOnce(&mut State) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let (done, pending) = {
            let mut state = self.enter();
            let parts = state.maps.overlapping(&range);
            state.retire(&parts, true);
            let done = act(&mut state);
            if done.is_err() {
                state.restore(&parts);
            }
            (done, joined(parts.iter().map(|(r, m)| (m.image.clone(), m.bytes(r)))))
        };
        self.finish(pending);
        done
    }

    unsafe fn serve(&self, req: Request, file: Candidate) -> Result<usize, Errno> {
        let image = self.open_image(&req, &file)?;
        let target = replaced(&req);
        let shared = req.flags & mem::MAP_TYPE != mem::MAP_PRIVATE;
        let mapped = self.replacing(target.unwrap_or(0..0), |state| {
            if shared && req.prot & mem::PROT_WRITE != 0 {
                // Before, because with `MAP_FIXED` other threads may store into the new map at once.
                let off = req.off as u64;
                image.begin_comparing(&(off..off.saturating_add(req.len as u64)))?;
            }
            // SAFETY: the caller's own request; what it replaces was collected.
            let addr = unsafe { image.shm.map(req.addr, req.len, req.prot, req.flags, req.off) }?;
            let range = span(addr, req.len).ok_or(Errno::INVAL)?;
            state.maps.remove(&range);
            let map = Map {
                image: image.clone(),
                delta: (req.off as u64).wrapping_sub(addr as u64),
                shared,
                prot: req.prot,
                allowed: file.allowed,
                tracker: None,
                armed: 0,
                no_fork: false,
            };
            if let Err(errno) = state.enter_part(range.clone(), map) {
                // SAFETY: mapped a few lines above.
                let _ = unsafe { mem::munmap(range.start, range.len()) };
                return Err(errno);
            }
            if req.flags & mem::MAP_FIXED != 0 {
                state.count_touched(&range);
            }
            add(&image.counters.maps, 1);
            Ok(addr)
        });
        let mut state = self.enter();
        image.pins.fetch_sub(1, Ordering::Relaxed);
        state.release(image);
        mapped
    }

    /// Finds the file's image or makes and loads one. It is pinned; the caller unpins.
    fn open_image(&self, req: &Request, file: &Candidate) -> Result<Arc<Image>, Errno> {
        let fd = fd::borrow(req.fd)?;
        let id = file::identity(fd)?;
        let image = {
            let mut state = self.enter();
            let image = match state.images.get(&id) {
                Some(image) => image.clone(),
                None => {
                    let compare = state.trackers.compares();
                    let dir = self.dir();
                    registry::add(&id);
                    let new = Image::new(id, fd, file.writable, compare, dir);
                    let new = Arc::new(new.inspect_err(|_| registry::remove(&id))?);
                    registry::announce();
                    state.visited.remove(&id);
                    state.images.insert(id, new.clone());
                    new
                }
            };
            image.pins.fetch_add(1, Ordering::Relaxed);
            image
        };
        let ready = {
            let _blocked = crate::sys::os::signal::Blocked::new();
            image.adopt(fd, file.writable).and_then(|()| image.load())
        };
        match ready.and_then(|()| self.follow(&image)) {
            Ok(()) => Ok(image),
            Err(errno) => {
                let mut state = self.enter();
                image.pins.fetch_sub(1, Ordering::Relaxed);
                state.release(image);
                Err(errno)
            }
        }
    }
}

/// What a request replaces, if it is one that does and its arguments are sound.
fn replaced(req: &Request) -> Option<Range<usize>> {
    let fixed = req.flags & mem::MAP_FIXED != 0 && req.flags & mem::MAP_FIXED_NOREPLACE == 0;
    if fixed { span(req.addr, req.len) } else { None }
}
