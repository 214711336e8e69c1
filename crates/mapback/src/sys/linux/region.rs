//! Memory of a map of the safe face: private to this process, and nobody else's to change.

use super::mem::{self, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE};
use super::raw::{Sysno, call};
use core::ops::Range;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

/// Huge pages, where they are to be had: from this many bytes on.
pub(crate) const HUGE: usize = 2 << 20;

/// Whole pages of private memory, zero at first, which cost nothing until they are touched. Unmapped when dropped.
///
/// It is never turned into a slice here: who may do that is its owner's business.
#[derive(Debug)]
pub(crate) struct Region {
    addr: usize,
    len: usize,
}

/// The content that a region and its snapshots begin with and share until one of them is stored to.
#[derive(Debug)]
pub(crate) struct Base {
    fd: OwnedFd,
    len: usize,
}

impl Region {
    /// A region of `len` bytes, rounded up to pages; none at all for 0. Readable and writable.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(len: usize, huge: bool) -> Result<Region, Errno> {
        let len = crate::page::ceil(len, super::page_size()).ok_or(Errno::NOMEM)?;
        if len == 0 {
            return Ok(Region { addr: super::page_size(), len: 0 });
        }
        // Room to begin on a boundary of huge pages, given back at once.
        let slack = if huge && len >= HUGE { HUGE } else { 0 };
        let all = len.checked_add(slack).ok_or(Errno::NOMEM)?;
        let begin = mem::anonymous(all)?;
        let addr = if slack > 0 { begin.next_multiple_of(HUGE) } else { begin };
        for (from, to) in [(begin, addr), (addr + len, begin + all)] {
            if from < to {
                // SAFETY: mapped a few lines above, and known to nobody.
                let _ = unsafe { mem::munmap(from, to - from) };
            }
        }
        let region = Region { addr, len };
        if slack > 0 {
            let _ = region.advise(0..len, mem::advice::HUGEPAGE);
        }
        Ok(region)
    }

    /// The bytes of the region.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of byte `at`; dangling, but not null, for a region without bytes.
    pub(crate) fn at(&self, at: usize) -> *mut u8 {
        debug_assert!(at <= self.len);
        (self.addr + at) as *mut u8
    }

    /// The addresses of a range of bytes.
    pub(crate) fn addresses(&self, range: &Range<usize>) -> Range<usize> {
        debug_assert!(range.end <= self.len);
        self.addr + range.start..self.addr + range.end
    }

    /// Changes the protection of all of it.
    ///
    /// # Errors
    /// `ENOMEM`; `EACCES` where memory may not be executable.
    pub(crate) fn protect(&self, prot: i32) -> Result<(), Errno> {
        if self.len == 0 {
            return Ok(());
        }
        // SAFETY: our own memory. Who holds references that the new protection contradicts is the owner's business.
        unsafe { mem::mprotect(self.addr, self.len, prot) }
    }

    /// Makes it `len` bytes long, rounded up to pages; what is new is zero. It may move if `may_move`. On error it is
    /// as it was.
    ///
    /// # Errors
    /// `ENOMEM`, also where it would have to move and may not; `EFAULT` where the kernel has come to see several maps in
    /// it, which cannot be made longer together.
    pub(crate) fn resize(&mut self, len: usize, may_move: bool) -> Result<(), Errno> {
        let len = crate::page::ceil(len, super::page_size()).ok_or(Errno::NOMEM)?;
        if len == self.len {
            return Ok(());
        }
        if self.len == 0 {
            *self = Region::new(len, true)?;
        } else if len == 0 {
            *self = Region::new(0, false)?;
        } else if len < self.len {
            // SAFETY: ours, and `&mut self` says that nobody looks at it now.
            unsafe { mem::munmap(self.addr + len, self.len - len) }?;
            self.len = len;
        } else {
            let flags = if may_move { MREMAP_MAYMOVE } else { 0 };
            // SAFETY: the range is ours, and `&mut self` says that nobody looks at it now.
            self.addr = unsafe { mem::mremap(self.addr, self.len, len, flags, 0) }?;
            self.len = len;
        }
        Ok(())
    }

    /// `madvise` for a range of bytes, widened to pages. Only for advice that leaves the content alone.
    ///
    /// # Errors
    /// Those of `madvise`.
    pub(crate) fn advise(&self, range: Range<usize>, advice: i32) -> Result<(), Errno> {
        let Some((addr, len)) = self.pages(&range) else { return Ok(()) };
        // SAFETY: our own memory, whose content the advice does not change.
        unsafe { mem::madvise(addr, len, advice) }
    }

    /// As [`Region::advise`], for advice that may change the content.
    ///
    /// # Safety
    /// Nobody may rely on the content of the range.
    ///
    /// # Errors
    /// Those of `madvise`.
    pub(crate) unsafe fn advise_away(&self, range: Range<usize>, advice: i32) -> Result<(), Errno> {
        let Some((addr, len)) = self.pages(&range) else { return Ok(()) };
        // SAFETY: passed on.
        unsafe { mem::madvise(addr, len, advice) }
    }

    /// Keeps all of it in memory.
    ///
    /// # Errors
    /// `ENOMEM`, `EPERM`: the limit on locked memory.
    pub(crate) fn lock(&self) -> Result<(), Errno> {
        self.lock_call(Sysno::mlock)
    }

    /// Ends [`Region::lock`].
    ///
    /// # Errors
    /// Those of `munlock`.
    pub(crate) fn unlock(&self) -> Result<(), Errno> {
        self.lock_call(Sysno::munlock)
    }

    fn lock_call(&self, nr: Sysno) -> Result<(), Errno> {
        if self.len == 0 {
            return Ok(());
        }
        // SAFETY: neither call changes memory.
        unsafe { call(nr, [self.addr, self.len, 0, 0, 0, 0]) }.map(drop)
    }

    fn pages(&self, range: &Range<usize>) -> Option<(usize, usize)> {
        let page = super::page_size();
        let start = crate::page::floor(range.start, page);
        let end = range.end.next_multiple_of(page).min(self.len);
        (start < end).then(|| (self.addr + start, end - start))
    }

    /// Copies bytes from `at` on, which other threads may be storing to, by the kernel's hand: for Rust a load that
    /// races with a store has no meaning. The copy may hold a mixture of old and new bytes.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    pub(crate) fn copy_live(&self, at: usize, to: &mut [u8]) -> Result<(), Errno> {
        debug_assert!(at + to.len() <= self.len);
        let mut done = 0;
        while done < to.len() {
            let local = [to[done..].as_mut_ptr() as usize, to.len() - done];
            let remote = [self.addr + at + done, to.len() - done];
            let (l, r) = (&raw const local as usize, &raw const remote as usize);
            // SAFETY: `local` is a slice that is ours to write to; `remote` is inside the region.
            match unsafe { call(Sysno::process_vm_readv, [super::pid() as usize, l, 1, r, 1, 0]) } {
                Ok(0) | Err(_) => return self.copy_through_file(at + done, &mut to[done..]),
                Ok(n) => done += n,
            }
        }
        Ok(())
    }

    /// As [`Region::copy_live`], where a sandbox forbids the call that is made for it.
    fn copy_through_file(&self, at: usize, to: &mut [u8]) -> Result<(), Errno> {
        let fd = super::fd::with_room(|| rustix::fs::memfd_create(c"mapback-copy", MemfdFlags::CLOEXEC))?;
        let mut done = 0;
        while done < to.len() {
            // SAFETY: inside the region, which is readable.
            let n =
                unsafe { super::file::pwrite(fd.as_fd(), self.at(at + done), to.len() - done, 0, false) }?;
            // SAFETY: a slice that is ours to write to.
            done += unsafe { super::file::pread(fd.as_fd(), to[done..].as_mut_ptr(), n, 0) }?;
        }
        Ok(())
    }

    /// Turns the region into a copy-on-write map of a base that has its content now, so that a snapshot costs what was
    /// stored to since. The address stays. Nobody may store to it meanwhile; loads may go on.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`. The region is as it was.
    pub(crate) fn found(&self, prot: i32) -> Result<Base, Errno> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = super::fd::with_room(|| rustix::fs::memfd_create(c"mapback-base", flags))?;
        let base = Base { fd, len: self.len };
        super::file::with_file_size(self.len as u64, || rustix::fs::ftruncate(&base.fd, self.len as u64))?;
        const PIECE: usize = 1 << 20;
        for at in (0..self.len).step_by(PIECE) {
            let end = (at + PIECE).min(self.len);
            // SAFETY: inside the region, readable, and not stored to meanwhile (see above).
            let bytes = unsafe { core::slice::from_raw_parts(self.at(at), end - at) };
            if bytes.iter().any(|b| *b != 0) {
                base.fill(at, bytes)?;
            }
        }
        // Whoever opens it through /proc/PID/fd shall not change it, nor cut it short, under a reader of the region.
        let _ = rustix::fs::fcntl_add_seals(&base.fd, SealFlags::SHRINK | SealFlags::FUTURE_WRITE);
        base.map_at(self.addr, self.len, prot)?;
        Ok(base)
    }
}

impl Base {
    fn fill(&self, at: usize, bytes: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < bytes.len() {
            let from = &bytes[done..];
            let off = (at + done) as u64;
            // SAFETY: a slice.
            let write =
                || unsafe { super::file::pwrite(self.fd.as_fd(), from.as_ptr(), from.len(), off, false) };
            done += super::file::with_file_size(off + from.len() as u64, write)?;
        }
        Ok(())
    }

    /// Maps the base, copy-on-write, over memory of ours.
    fn map_at(&self, addr: usize, len: usize, prot: i32) -> Result<(), Errno> {
        if len == 0 {
            return Ok(());
        }
        let flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
        // SAFETY: the range is a region of ours, which keeps its bytes: the base has the same.
        unsafe { mem::mmap(addr, len, prot, flags, self.fd.as_raw_fd(), 0) }.map(drop)
    }

    /// How many bytes it has. It never gets shorter: others show it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Follows the region to another length. Returns whether it can; if not, it is of no use any more.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn resize(&mut self, len: usize) -> Result<bool, Errno> {
        let len = len.next_multiple_of(super::page_size());
        if len > self.len {
            super::file::with_file_size(len as u64, || rustix::fs::ftruncate(&self.fd, len as u64))?;
            self.len = len;
        }
        Ok(true)
    }

    /// A region that has the base's content, with the first `len` bytes, and shares its memory until stored to.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn branch(&self, len: usize) -> Result<Region, Errno> {
        let region = Region::new(len.min(self.len), false)?;
        self.map_at(region.addr, region.len, PROT_READ | PROT_WRITE)?;
        Ok(region)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: ours, and nobody can hold a reference into it any more.
            let _ = unsafe { mem::munmap(self.addr, self.len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(region: &Region, at: usize, bytes: &[u8]) {
        // SAFETY: the region is the test's own, and writable.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), region.at(at), bytes.len()) };
    }

    fn read(region: &Region, at: usize, len: usize) -> Vec<u8> {
        let mut to = vec![0; len];
        region.copy_live(at, &mut to).unwrap();
        to
    }

    #[test]
    fn live_copies_are_the_same_by_both_ways() {
        let region = Region::new(3 * super::super::page_size(), true).unwrap();
        fill(&region, 4090, b"across pages");
        assert_eq!(read(&region, 4090, 12), b"across pages");
        let mut to = [0; 12];
        region.copy_through_file(4090, &mut to).unwrap();
        assert_eq!(&to, b"across pages");
    }

    #[test]
    fn a_branch_keeps_what_the_region_had_when_it_was_founded() {
        let page = super::super::page_size();
        let region = Region::new(2 * page, false).unwrap();
        fill(&region, page, b"old");
        let base = region.found(PROT_READ | PROT_WRITE).unwrap();
        fill(&region, page, b"new");
        let branch = base.branch(2 * page).unwrap();
        assert_eq!(read(&branch, page, 3), b"old");
        assert_eq!(read(&region, page, 3), b"new");
    }

    #[test]
    fn nobody_changes_a_base() {
        let page = super::super::page_size();
        let region = Region::new(2 * page, false).unwrap();
        let base = region.found(PROT_READ | PROT_WRITE).unwrap();
        let path = format!("/proc/self/fd/{}", base.fd.as_raw_fd());
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let refused = |done: std::io::Result<()>| done.unwrap_err().kind();
        assert_eq!(refused(file.set_len(1)), std::io::ErrorKind::PermissionDenied);
        let written = std::os::unix::fs::FileExt::write_all_at(&file, b"x", 0);
        assert_eq!(refused(written), std::io::ErrorKind::PermissionDenied);
        fill(&region, 0, b"ours");
        assert_eq!(read(&base.branch(page).unwrap(), 0, 4), [0; 4]);
    }

    #[test]
    fn a_region_grows_with_its_base() {
        let page = super::super::page_size();
        let mut region = Region::new(page, false).unwrap();
        fill(&region, 0, b"x");
        let mut base = region.found(PROT_READ | PROT_WRITE).unwrap();
        assert!(base.resize(5 * page).unwrap());
        region.resize(5 * page, true).unwrap();
        fill(&region, 4 * page, b"y");
        assert_eq!((read(&region, 0, 1), read(&region, 4 * page, 1)), (b"x".to_vec(), b"y".to_vec()));
    }

    #[test]
    fn big_regions_begin_on_a_huge_page() {
        let region = Region::new(3 * HUGE + 1, true).unwrap();
        assert_eq!(region.at(0) as usize % HUGE, 0);
        assert_eq!(region.len(), 3 * HUGE + super::super::page_size());
    }
}
