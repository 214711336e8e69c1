//! Runs a sequence on both sides and compares after each operation.

use crate::arena::{PAGE, PAGES};
use crate::half::{Half, MOST};
use crate::op::{Fd, Op, Place, Size};
use crate::shadow::{Area, Shadow};
use crate::side::{Args, Call, Ret, Side};
use std::collections::BTreeSet;
use std::path::Path;

/// What an operation did, in a word; `Err` tells how the two sides differ.
pub type Step = Result<String, String>;

pub struct World<'a> {
    pub(crate) halves: [Half<'a>; 2],
    pub(crate) shadow: Shadow,
    /// The file's size.
    pub(crate) size: usize,
    pub(crate) unlinked: bool,
}

impl<'a> World<'a> {
    /// `sides`: the one under test and the oracle, each with the directory of its file.
    pub fn new(sides: [(&'a mut dyn Side, &Path); 2], size: usize) -> World<'a> {
        let mut which = 0..;
        let halves =
            sides.map(|(side, directory)| Half::new(side, which.next().expect("endless"), directory, size));
        World { halves, shadow: Shadow::new(), size, unlinked: false }
    }

    /// The operation with the pages that it means now, in place of those that it counts.
    pub fn concrete(&self, op: &Op) -> Op {
        let mut op = op.clone();
        let mapped = self.shadow.mapped();
        for place in op.places().into_iter().filter(|place| place.mapped) {
            place.mapped = false;
            if place.island.is_none() && !mapped.is_empty() {
                place.page = mapped[place.page % mapped.len()];
            }
        }
        op
    }

    /// Runs one concrete operation on both sides.
    pub fn step(&mut self, op: &Op) -> Step {
        let outcome = match *op {
            Op::Mmap { .. } => self.mmap(op),
            Op::Munmap { at, len } => self.munmap(at, len),
            Op::Mprotect { at, len, prot } => self.ranged(Call::Mprotect, at, len, prot.0),
            Op::Msync { at, len, flags } => self.msync(at, len, flags),
            Op::Mremap { .. } => self.mremap(op),
            Op::Madvise { at, len, advice } => self.madvise(at, len, advice),
            Op::Mincore { at, len } => self.mincore(at, len),
            Op::Mlock { at, len } => self.ranged(Call::Mlock, at, len, 0),
            Op::Munlock { at, len } => self.ranged(Call::Munlock, at, len, 0),
            Op::Store { at, len, value } => self.store(at, len, value),
            Op::Store8 { at, value } => self.store8(at, value),
            Op::Load { at, len } => self.load(at, len),
            Op::Load8 { at } => self.load8(at),
            Op::Copy { from, to, len } => self.copy(from, to, len),
            Op::PreadInto { at, len } => self.pread_into(at, len),
            Op::PwriteFrom { at, len } => self.pwrite_from(at, len),
            Op::Ftruncate { fd, size } => self.on_fd(Call::Ftruncate, fd, [size.0, 0, 0]),
            Op::Truncate { size } => self.truncate(size),
            Op::Fallocate { fd, mode, offset, len } => {
                self.on_fd(Call::Fallocate, fd, [mode as usize, offset.0, len.0])
            }
            Op::Preadv { fd, len, offset } => self.transfer(Call::Preadv, fd, len, offset, None),
            Op::Pwritev { fd, len, offset, value } => {
                self.transfer(Call::Pwritev, fd, len, offset, Some(value))
            }
            Op::CopyIn { fd, len, offset } => self.copy_range(fd, len, offset, true),
            Op::CopyOut { fd, len, offset } => self.copy_range(fd, len, offset, false),
            Op::Lseek { fd, offset, whence } => self.on_fd(Call::Lseek, fd, [offset.0, whence as usize, 0]),
            Op::Pread { fd, len, offset } => self.transfer(Call::Pread, fd, len, offset, None),
            Op::Read { fd, len } => self.transfer(Call::Read, fd, len, Size(0), None),
            Op::Pwrite { fd, len, offset, value } => {
                self.transfer(Call::Pwrite, fd, len, offset, Some(value))
            }
            Op::Write { fd, len, value } => self.transfer(Call::Write, fd, len, Size(0), Some(value)),
            Op::Fsync { fd } => self.flush(Call::Fsync, fd),
            Op::Fdatasync { fd } => self.flush(Call::Fdatasync, fd),
            Op::Reopen { fd, truncate } => self.reopen(fd, truncate),
            Op::Unlink => self.unlink(),
        }?;
        self.compare_sizes()?;
        Ok(outcome)
    }

    /// Ends the sequence: unmaps everything, after which the files must be the same.
    pub fn finish(mut self, read_first: bool) -> Result<(), String> {
        if read_first {
            self.transfer(Call::Pread, Fd::ReadWrite, Size(MOST), Size(0), None)?;
        }
        self.unmap_all()?;
        self.compare_file(None, "after everything was unmapped")
    }

    /// Calls on both sides and compares what they return.
    pub(crate) fn both(&mut self, call: Call, args: impl Fn(&mut Half) -> Args) -> Result<Ret, String> {
        let [a, b] = self.halves.each_mut().map(|half| {
            let args = args(half);
            half.call(call, args)
        });
        equal(&a.map_err(errno_name), &b.map_err(errno_name), || "returned".to_string())?;
        Ok(b)
    }

    /// The area and the byte in it that a place means now.
    pub(crate) fn resolve(&self, place: Place) -> (Area, usize) {
        let islands = self.shadow.islands();
        match place.island {
            Some(n) if !islands.is_empty() => {
                let area = islands[n as usize % islands.len()];
                (area, place.page % self.shadow.len(area) * PAGE + place.byte)
            }
            _ => (0, place.page * PAGE + place.byte),
        }
    }

    /// A length cut so that it ends in its area; what is around an island is not the model's.
    pub(crate) fn clip(&self, area: Area, byte: usize, len: Size) -> usize {
        if len.0 > isize::MAX as usize / 2 { len.0 } else { len.0.min(self.shadow.len(area) * PAGE - byte) }
    }

    /// Whether a descriptor of this kind can be opened afresh.
    pub(crate) fn can_open(&self, fd: Fd) -> bool {
        fd == Fd::Directory || (fd != Fd::Bad && !self.unlinked)
    }

    /// I3: the file's size is the same, as another process sees it.
    fn compare_sizes(&mut self) -> Result<(), String> {
        let [a, b] = self.halves.each_ref().map(|half| half.size());
        self.size = b;
        equal(&a, &b, || "made the file's size".to_string())
    }

    /// Compares the file's bytes, or those of some of its pages, as another process sees them.
    pub(crate) fn compare_file(&self, pages: Option<&BTreeSet<usize>>, when: &str) -> Result<(), String> {
        let mut contents = self.halves.each_ref().map(|half| half.content());
        if let Some(pages) = pages {
            for content in &mut contents {
                for (page, bytes) in content.chunks_mut(PAGE).enumerate() {
                    if !pages.contains(&page) {
                        bytes.fill(0);
                    }
                }
            }
        }
        same_bytes(&contents[0], &contents[1], &format!("in the file, {when}"))
    }

    fn unmap_all(&mut self) -> Result<(), String> {
        for area in self.shadow.islands().into_iter().chain([0]) {
            let len = self.shadow.len(area) * PAGE;
            self.shadow.unmap(area, 0..PAGES);
            self.both(Call::Munmap, |half| [half.address(area, 0), len, 0, 0, 0, 0])?
                .map_err(|errno| format!("munmap of a whole area failed with {}", errno_name(errno)))?;
        }
        Ok(())
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let _ = self.unmap_all();
        self.halves.iter_mut().for_each(Half::close_all);
    }
}

/// `Err` that says what either side did, unless they did the same.
pub fn equal<T: PartialEq + std::fmt::Debug>(a: &T, b: &T, did: impl Fn() -> String) -> Result<(), String> {
    if a == b { Ok(()) } else { Err(format!("the side under test {} {a:?}, the kernel {b:?}", did())) }
}

/// `Err` that says where bytes differ first, unless they are the same.
pub fn same_bytes(a: &[u8], b: &[u8], place: &str) -> Result<(), String> {
    if a == b {
        return Ok(());
    }
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    let differing = a.iter().zip(b).filter(|(a, b)| a != b).count();
    let some = |bytes: &[u8]| bytes[at.min(bytes.len())..bytes.len().min(at + 8)].to_vec();
    Err(format!(
        "bytes differ {place}: {differing} of {} and {}, first at {:?}: the side under test has {:?}, the kernel {:?}",
        a.len(),
        b.len(),
        Size(at),
        some(a),
        some(b),
    ))
}

/// A result in a word.
pub fn said(ret: Ret) -> String {
    match ret {
        Ok(_) => "ok".to_string(),
        Err(errno) => errno_name(errno),
    }
}

/// The error's name, or its number.
pub fn errno_name(errno: i32) -> String {
    macro_rules! names {
        ($($name:ident)+) => {
            match errno {
                $(libc::$name => stringify!($name).to_string(),)+
                _ => format!("errno {errno}"),
            }
        };
    }
    names!(EACCES EAGAIN EBADF EBUSY EEXIST EFAULT EFBIG EINVAL EIO EISDIR EMFILE ENODEV ENOENT ENOMEM ENOSPC
        ENOSYS ENOTSUP EOVERFLOW EPERM ESPIPE)
}
