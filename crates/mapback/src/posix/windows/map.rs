//! `mmap` on Windows.

use super::policy::{Candidate, candidate, is_shared};
use super::state::State;
use super::table::Map;
use super::{Request, Space, joined, span};
use crate::image::{Image, Memory};
use crate::stats::add;
use crate::store::{FileStore, read_range};
use crate::sys::Errno;
use crate::sys::os::{self, chain, fd, file, mem, section, space};
use core::ops::Range;
use core::sync::atomic::Ordering;
use std::sync::Arc;

impl Space {
    /// `mmap`, by HANDLE.
    ///
    /// # Safety
    /// As `mmap`: with `MAP_FIXED` what is mapped at the address is replaced.
    ///
    /// # Errors
    /// Those of `mmap`. `ENOTSUP` for an address that no map of this kind can have: see `docs/platforms.md`.
    pub unsafe fn mmap(&self, req: Request) -> Result<usize, Errno> {
        let shared = is_shared(&req)?;
        if req.flags & mem::MAP_ANONYMOUS != 0 {
            // SAFETY: the caller's own request.
            return unsafe { self.private(req, req.len, None::<fn(*mut u8) -> Result<(), Errno>>) };
        }
        let handle = fd::borrow(req.fd)?;
        let file = candidate(&req, handle, shared)?;
        chain::watch()?;
        if shared {
            // SAFETY: the caller's own request.
            return unsafe { self.serve_shared(req, file) };
        }
        // SAFETY: as above.
        unsafe { self.serve_private(req) }
    }

    /// Private memory with content. It replaces what is there, whose changes are written back.
    unsafe fn private(
        &self,
        req: Request,
        filled: usize,
        fill: Option<impl FnOnce(*mut u8) -> Result<(), Errno>>,
    ) -> Result<usize, Errno> {
        self.replacing(replaced(&req).unwrap_or(0..0), |state| {
            // SAFETY: the caller's own request; what it replaces was collected.
            let addr = unsafe { section::map_private(&placement(&req), filled, fill) }?;
            let range = span(addr, req.len).ok_or(Errno::INVAL)?;
            state.maps.remove(&range);
            Ok(addr)
        })
    }

    /// A private map: a copy of what the image of the file holds, if it has one, or else of the file.
    unsafe fn serve_private(&self, req: Request) -> Result<usize, Errno> {
        let handle = fd::borrow(req.fd)?;
        let image = self.existing_image(handle)?;
        let start = req.off as u64;
        let done = (|| {
            let store = FileStore::open(handle, false)?;
            let len = image.as_ref().map_or_else(|| store.len(), |image| Ok(image.len()))?;
            let most = crate::page::ceil64(req.len as u64, os::PAGE);
            let filled = len.saturating_sub(start).min(most) as usize;
            let fill = |to: *mut u8| match &image {
                Some(image) => {
                    let from = image.section.at(start);
                    // SAFETY: inside the image, whose length cannot shrink under the space's lock, which is held;
                    // the copy is as long as the memory it goes to.
                    let copy = || unsafe { core::ptr::copy_nonoverlapping(from, to, filled) };
                    image.section.reading(from, filled, copy);
                    Ok(())
                }
                // SAFETY: the memory is as long as the range.
                None => unsafe { read_range(&store, to, start..start + filled as u64) }.map(drop),
            };
            // What the map shows of the last page of the image past the end of the file is zero in any case.
            // SAFETY: the caller's own request.
            unsafe { self.private(req, filled, Some(fill)) }
        })();
        if let Some(image) = image {
            self.unpin(image);
        }
        done
    }

    unsafe fn serve_shared(&self, req: Request, file: Candidate) -> Result<usize, Errno> {
        let image = self.open_image(&req, &file)?;
        let mapped = self.replacing(replaced(&req).unwrap_or(0..0), |state| {
            if file.allowed & mem::PROT_WRITE != 0 {
                let bytes = req.off as u64..req.off as u64 + req.len as u64;
                let shown = state.maps.of(&image).iter().any(|(r, m)| m.bytes(r).contains(&bytes.end));
                image.note_edge(&bytes, shown)?;
            }
            // SAFETY: the caller's own request; what it replaces was collected.
            let addr = unsafe { image.section.map(&placement(&req), req.off as u64) }?;
            let range = span(addr, req.len).ok_or(Errno::INVAL)?;
            state.maps.remove(&range);
            let map = Map {
                image: image.clone(),
                delta: (req.off as u64).wrapping_sub(addr as u64),
                shared: true,
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
            add(&image.counters.maps, 1);
            Ok(addr)
        });
        self.unpin(image);
        mapped
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

    fn unpin(&self, image: Arc<Image>) {
        let mut state = self.enter();
        image.pins.fetch_sub(1, Ordering::Relaxed);
        state.release(image);
    }

    /// The image of a file that this process or another has mapped shared, pinned.
    fn existing_image(&self, handle: fd::Borrowed<'_>) -> Result<Option<Arc<Image>>, Errno> {
        let id = file::identity(handle)?;
        let state = self.enter();
        let Some(image) = state.images.get(&id).cloned() else {
            drop(state);
            return if section::exists(id) {
                self.make_image(id, handle, false, 0).map(Some)
            } else {
                Ok(None)
            };
        };
        image.pins.fetch_add(1, Ordering::Relaxed);
        drop(state);
        self.prepare(image, handle, false).map(Some)
    }

    /// Finds the file's image or makes and loads one. It is pinned; the caller unpins.
    fn open_image(&self, req: &Request, file: &Candidate) -> Result<Arc<Image>, Errno> {
        let handle = fd::borrow(req.fd)?;
        let need = req.off as u64 + req.len as u64;
        self.make_image(file::identity(handle)?, handle, file.writable, need)
    }

    fn make_image(
        &self,
        id: file::FileId,
        handle: fd::Borrowed<'_>,
        writable: bool,
        need: u64,
    ) -> Result<Arc<Image>, Errno> {
        let image = {
            let mut state = self.enter();
            let image = match state.images.get(&id) {
                Some(image) => image.clone(),
                None => {
                    let memory = Memory { alone: state.trackers.alone(), need };
                    let compare = state.trackers.compares();
                    let new = Arc::new(Image::new(id, handle, writable, compare, memory)?);
                    state.images.insert(id, new.clone());
                    new
                }
            };
            image.pins.fetch_add(1, Ordering::Relaxed);
            image
        };
        self.prepare(image, handle, writable)
    }

    /// Loads an image that is pinned, and follows its file.
    fn prepare(
        &self,
        image: Arc<Image>,
        handle: fd::Borrowed<'_>,
        writable: bool,
    ) -> Result<Arc<Image>, Errno> {
        let ready = image.adopt(handle, writable).and_then(|()| image.load());
        match ready.and_then(|()| self.follow(&image)) {
            Ok(()) => Ok(image),
            Err(errno) => {
                self.unpin(image);
                Err(errno)
            }
        }
    }
}

fn placement(req: &Request) -> space::Request {
    space::Request { addr: req.addr, len: req.len, prot: req.prot, flags: req.flags }
}

/// What a request replaces, if it is one that does and its arguments are sound.
fn replaced(req: &Request) -> Option<Range<usize>> {
    let fixed = req.flags & mem::MAP_FIXED != 0 && req.flags & mem::MAP_FIXED_NOREPLACE == 0;
    if fixed { span(req.addr, req.len) } else { None }
}

const _: () = assert!(os::PAGE == 4096);
