//! The memory behind an image: a section backed by the page file, which other processes of this user find by the
//! file's identity; or memory of this process alone, whose stores the system notes.

use super::errno::Errno;
use super::file::FileId;
pub(crate) use super::named::exists;
use super::named::{Loading, create, made, name_of, take, wide};
use super::reservation::{self, Kind, Region};
use super::security::{Attributes, User};
use super::space::{Request, SPACE};
use super::{GRANULE, PAGE, mem, users, watch};
use crate::page;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::Arc;
use windows_sys::Win32::System::Memory::VirtualFree;
use windows_sys::Win32::System::Threading::CreateMutexW;

/// Room that an image has at the least, so that its file may grow while it is mapped. It costs address space, and the
/// system's tables for it (2 KiB for each MiB).
const LEAST: u64 = 64 << 20;
/// The section's first granule is the [`Header`]; content begins behind it.
pub(super) const CONTENT: usize = GRANULE;
const MAGIC: u64 = u64::from_le_bytes(*b"mapback1");

/// What the processes that share an image tell each other. All zero when the section is made.
#[repr(C)]
pub(crate) struct Header {
    magic: AtomicU64,
    /// Bytes of content that there is room for.
    capacity: AtomicU64,
    /// The exact end of the file.
    len: AtomicU64,
    /// Not 0: the content was loaded.
    ready: AtomicU32,
    reserved: AtomicU32,
    /// The processes that may store into the image.
    users: [AtomicU64; 64],
}

/// The memory of one image.
#[derive(Debug)]
pub(crate) struct Object {
    kind: ObjectKind,
    /// Where our own view begins, with the header if there is one.
    base: usize,
    capacity: u64,
    /// The length that our maps show.
    len: AtomicU64,
}

#[derive(Debug)]
enum ObjectKind {
    /// The section, whether it may hold code, and the mutex that loaders take.
    Section {
        section: OwnedHandle,
        exec: bool,
        mutex: OwnedHandle,
    },
    Alone,
}

impl Object {
    /// The memory of a file's image, which other processes may have made already. `need`: content that there must
    /// be room for.
    ///
    /// # Errors
    /// `ENOMEM`; `EACCES` where another user has laid out an object of that name.
    pub(crate) fn shared(id: FileId, need: u64) -> Result<Object, Errno> {
        let user = User::current()?;
        let attributes = Attributes::only(&user)?;
        let name = name_of(id);
        let lock = wide(&format!("{name}-lock"));
        // SAFETY: the name ends in zero; the attributes live through the call.
        let (mutex, existed) = unsafe { made(CreateMutexW(attributes.as_ptr(), 0, lock.as_ptr())) }?;
        if existed && !user.owns(&mutex) {
            return Err(Errno::ACCESS);
        }
        let (section, exec, header_view) = {
            let _alone = take(&mutex);
            let capacity = page::ceil64(need.max(LEAST), GRANULE);
            let (section, existed, exec) = create(&attributes, &wide(&name), capacity)?;
            if existed && !user.owns(&section) {
                return Err(Errno::ACCESS);
            }
            let view = Region::view(section.as_handle(), 0, 0, CONTENT, false)?;
            // SAFETY: pages of our own view.
            unsafe { reservation::commit(&(view.range.start..view.range.start + PAGE), 3) }?;
            // SAFETY: committed above, and mapped until the view is released below.
            let header = unsafe { &*(view.range.start as *const Header) };
            if header.magic.load(Ordering::Acquire) == 0 {
                header.capacity.store(capacity, Ordering::Relaxed);
                header.magic.store(MAGIC, Ordering::Release);
            }
            (section, exec, view)
        };
        // SAFETY: as above.
        let header = unsafe { &*(header_view.range.start as *const Header) };
        let (magic, capacity) =
            (header.magic.load(Ordering::Acquire), header.capacity.load(Ordering::Relaxed));
        // SAFETY: the reference to the header is not used any more.
        unsafe { header_view.release() };
        if magic != MAGIC {
            return Err(Errno::ACCESS);
        }
        let whole = CONTENT + usize::try_from(capacity).map_err(|_| Errno::NOMEM)?;
        let view = Region::view(section.as_handle(), 0, 0, whole, false)?;
        let kind = ObjectKind::Section { section, exec, mutex };
        Ok(Object { kind, base: view.range.start, capacity, len: AtomicU64::new(0) })
    }

    /// Memory that only this process sees, and of which the system notes each store.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn alone(need: u64) -> Result<Object, Errno> {
        let capacity = page::ceil64(need.max(LEAST), GRANULE);
        let base = watch::reserve(usize::try_from(capacity).map_err(|_| Errno::NOMEM)?)?;
        let lent = Region { range: base..base + capacity as usize, kind: Kind::Lent };
        SPACE.lock().add_region(lent);
        Ok(Object { kind: ObjectKind::Alone, base, capacity, len: AtomicU64::new(0) })
    }

    /// Whether no other process sees it.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.kind, ObjectKind::Alone)
    }

    /// Where the content begins, as the library sees it.
    pub(crate) fn content(&self) -> usize {
        if self.is_alone() { self.base } else { self.base + CONTENT }
    }

    /// Bytes that there is room for.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The length that our maps show.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// What the processes tell each other; `None` where there is but this one.
    pub(crate) fn header(&self) -> Option<&Header> {
        // SAFETY: committed by `shared`, and mapped as long as `self` lives.
        (!self.is_alone()).then(|| unsafe { &*(self.base as *const Header) })
    }

    /// A view for the program; `off` is a multiple of the granule.
    pub(super) fn view(&self, addr: usize, off: u64, len: usize) -> Result<Region, Errno> {
        let ObjectKind::Section { section, exec, .. } = &self.kind else { return Err(Errno::NOTSUP) };
        if off + len as u64 > self.capacity {
            return Err(Errno::NOMEM);
        }
        Region::view(section.as_handle(), addr, CONTENT as u64 + off, len, *exec)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let range = self.base..self.base;
        match self.kind {
            // SAFETY: our own view, of which nobody keeps addresses beyond `self`.
            ObjectKind::Section { .. } => unsafe { Region { range, kind: Kind::View }.release() },
            ObjectKind::Alone => {
                SPACE.lock().forget_lent(self.base);
                // SAFETY: ours; a map of it would hold a reference to `self`.
                unsafe {
                    VirtualFree(self.base as *mut _, 0, windows_sys::Win32::System::Memory::MEM_RELEASE)
                };
            }
        }
    }
}

/// The memory behind an image, which can be mapped any number of times (once, if it is this process's alone).
#[derive(Debug)]
pub(crate) struct Section {
    object: Arc<Object>,
}

impl Section {
    /// Takes over an object.
    pub(crate) fn new(object: Object) -> Section {
        Section { object: Arc::new(object) }
    }

    /// Whether no other process sees it.
    pub(crate) fn is_alone(&self) -> bool {
        self.object.is_alone()
    }

    /// Waits until no other process loads the content, and keeps others from it.
    pub(crate) fn loading(&self) -> Loading<'_> {
        match &self.object.kind {
            ObjectKind::Section { mutex, .. } => take(mutex),
            ObjectKind::Alone => Loading(None),
        }
    }

    /// Whether another process has loaded the content.
    pub(crate) fn is_ready(&self) -> bool {
        self.object.header().is_some_and(|h| h.ready.load(Ordering::Acquire) != 0)
    }

    /// Says that the content is loaded.
    pub(crate) fn set_ready(&self) {
        if let Some(header) = self.object.header() {
            header.ready.store(1, Ordering::Release);
        }
    }

    /// Notes this process as one that has the image.
    pub(crate) fn enter(&self) {
        if let Some(header) = self.object.header() {
            users::enter(&header.users);
        }
    }

    /// Takes that back: all that this process changed is in the file.
    pub(crate) fn leave(&self) {
        if let Some(header) = self.object.header() {
            users::leave(&header.users);
        }
    }

    /// The processes that had the image and ended without a word.
    pub(crate) fn dead(&self) -> Vec<u64> {
        self.object.header().map(|header| users::dead(&header.users)).unwrap_or_default()
    }

    /// Forgets one of them: what it changed is in the file.
    pub(crate) fn forget(&self, dead: u64) {
        if let Some(header) = self.object.header() {
            users::forget(&header.users, dead);
        }
    }

    /// The length of the content, as the process that looked at the file last found it.
    pub(crate) fn len(&self) -> u64 {
        self.object.header().map_or(self.object.len(), |h| h.len.load(Ordering::Acquire))
    }

    /// Sets the length, here and for those who come, and brings this process's maps to it. What is cut off is zero
    /// should it come back, and inaccessible until then.
    ///
    /// # Errors
    /// `ENOMEM`; `EFBIG` where there is no room.
    pub(crate) fn resize(&self, len: u64) -> Result<(), Errno> {
        let object = &self.object;
        let old = object.len();
        if len > object.capacity {
            return Err(Errno::FBIG);
        }
        let pages = |len: u64| object.content() + page::ceil64(len, PAGE) as usize;
        if len > old || self.len() != len {
            // SAFETY: pages of our own view.
            unsafe {
                reservation::commit(&(object.content()..pages(len)), mem::PROT_READ | mem::PROT_WRITE)
            }?;
        }
        if len < old {
            // SAFETY: inside our view, committed when the content was that long; other threads' stores beside this
            // are stores past the end of the file.
            self.writing(len..old, || unsafe {
                core::ptr::write_bytes(self.at(len), 0, pages(old) - object.content() - len as usize);
            });
        }
        object.len.store(len, Ordering::Release);
        if let Some(header) = object.header() {
            header.len.store(len, Ordering::Release);
        }
        SPACE.lock().resized(object)
    }

    /// Does something that reads `len` bytes of content from `from` on.
    pub(crate) fn reading<T>(&self, from: *const u8, len: usize, act: impl FnOnce() -> T) -> T {
        if !self.is_alone() {
            // The library's own view is always accessible.
            return act();
        }
        let start = page::floor(from as usize, PAGE);
        let end = page::ceil(from as usize + len, PAGE).unwrap_or(start);
        SPACE.lock().while_readable(&(start..end), act)
    }

    /// Bytes that there is room for.
    pub(crate) fn capacity(&self) -> u64 {
        self.object.capacity
    }

    /// Does something that writes a range of content, which the program may have protected.
    pub(crate) fn writing<T>(&self, range: Range<u64>, act: impl FnOnce() -> T) -> T {
        if !self.is_alone() || range.is_empty() {
            return act();
        }
        let start = self.object.content() + page::floor(range.start as usize, PAGE);
        let end = self.object.content() + page::ceil64(range.end, PAGE) as usize;
        SPACE.lock().while_writable(&self.object, &(start..end), act)
    }

    /// Where byte `off` of the content is, as the library sees it.
    pub(crate) fn at(&self, off: u64) -> *mut u8 {
        debug_assert!(off <= self.object.capacity);
        (self.object.content() + off as usize) as *mut u8
    }

    /// Maps the content for the program.
    ///
    /// # Safety
    /// As `mmap`: with `MAP_FIXED` it replaces what is mapped there.
    ///
    /// # Errors
    /// Those of `mmap`; `ENOTSUP` for an address that no view can have.
    pub(crate) unsafe fn map(&self, request: &Request, off: u64) -> Result<usize, Errno> {
        // SAFETY: passed on.
        unsafe { SPACE.lock().map_shared(request, &self.object, off) }
    }
}

/// Private memory for the program; see [`super::space`].
///
/// # Safety
/// As `mmap`: with `MAP_FIXED` it replaces what is mapped there.
///
/// # Errors
/// Those of `mmap`, and of `fill`.
pub(crate) unsafe fn map_private(
    request: &Request,
    filled: usize,
    fill: Option<impl FnOnce(*mut u8) -> Result<(), Errno>>,
) -> Result<usize, Errno> {
    let Some(fill) = fill.filter(|_| filled > 0) else {
        // SAFETY: passed on.
        return unsafe { SPACE.lock().map_private(request, filled) };
    };
    let open = Request { prot: mem::PROT_READ | mem::PROT_WRITE, ..*request };
    // SAFETY: as above.
    let addr = unsafe { SPACE.lock().map_private(&open, filled) }?;
    // Not under the lock: filling may take long, and locks it itself where it reads memory of this process alone.
    // SAFETY: the protection of a map that was just made.
    let done = fill(addr as *mut u8).and_then(|()| unsafe { mem::mprotect(addr, request.len, request.prot) });
    if let Err(errno) = done {
        // SAFETY: made above, known to nobody.
        let _ = unsafe { mem::munmap(addr, request.len) };
        return Err(errno);
    }
    Ok(addr)
}
