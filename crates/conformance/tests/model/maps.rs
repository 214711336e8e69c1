//! The operations on maps: what is called, and what the shadow learns from it.

use crate::arena::PAGE;
use crate::half::Half;
use crate::op::{MoveFlags, Op, Place, Size, SyncFlags};
use crate::shadow::Area;
use crate::side::{Call, Ret};
use crate::world::{Step, World, equal, errno_name, said};
use libc::{
    MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_HUGETLB, MAP_SHARED_VALIDATE, MAP_SYNC,
    MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE,
};
use std::collections::BTreeSet;
use std::ops::Range;

/// Where something was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    Arena(usize),
    /// The kernel chose; where is not compared.
    Elsewhere,
}

impl World<'_> {
    pub(crate) fn mmap(&mut self, op: &Op) -> Step {
        let Op::Mmap { at, len, prot, flags, fd, offset, fresh } = *op else { unreachable!("not a mmap") };
        let (area, byte) = at.map_or((0, 0), |place| self.resolve(place));
        let mut flags = flags.0;
        if at.is_none() {
            flags &= !(MAP_FIXED | MAP_FIXED_NOREPLACE); // Root may map page 0.
        }
        if flags & MAP_SHARED_VALIDATE != MAP_SHARED_VALIDATE {
            flags &= !MAP_SYNC; // Then the file system decides: ext4 refuses it, others do not look.
        }
        if flags & MAP_SYNC != 0 {
            flags &= !MAP_FIXED; // The file system refuses it when what was there is already unmapped.
        }
        if flags & MAP_ANONYMOUS != 0 {
            flags &= !(MAP_GROWSDOWN | MAP_HUGETLB); // Stacks and huge pages are not this model's.
        }
        let fixed = flags & MAP_FIXED != 0;
        let len = if fixed { self.clip(area, byte, len) } else { len.0 };
        let fresh = fresh && self.can_open(fd);
        let before = self.shadow.all_shared_file_pages();

        let placed = self.placing(|half| {
            let address = if at.is_some() { half.address(area, byte) } else { 0 };
            let number =
                if fresh { half.open(fd, 0).expect("open of a file that has a name") } else { half.fd(fd) };
            let ret =
                half.call(Call::Mmap, [address, len, prot.0 as usize, flags as usize, number, offset.0]);
            if fresh {
                half.call(Call::Close, [number, 0, 0, 0, 0, 0]).expect("close of an open descriptor");
            }
            ret
        })?;
        if let Ok((placed, at)) = placed {
            let (area, byte) = if fixed { (area, byte) } else { self.settle(placed, at) };
            let shared = flags & 3 != libc::MAP_PRIVATE;
            let file = |page| (flags & MAP_ANONYMOUS == 0).then_some(offset.0 / PAGE + page);
            self.shadow.map(area, byte / PAGE, (0..len.div_ceil(PAGE)).map(|page| (file(page), shared)));
        }
        self.compare_dropped(&before, "after its map was replaced")?;
        Ok(said(placed.map(|_| 0)))
    }

    pub(crate) fn munmap(&mut self, at: Place, len: Size) -> Step {
        let (area, byte) = self.resolve(at);
        let mut len = self.clip(area, byte, len);
        if area > 0 && len != 0 && len < isize::MAX as usize {
            len = self.shadow.len(area) * PAGE - byte; // A hole in an island would be anybody's.
        }
        let before = self.shadow.all_shared_file_pages();
        let ret = self.both(Call::Munmap, |half| [half.address(area, byte), len, 0, 0, 0, 0])?;
        if ret.is_ok() {
            self.shadow.unmap(area, pages(byte, len));
        }
        self.compare_dropped(&before, "after munmap")?;
        Ok(said(ret))
    }

    pub(crate) fn msync(&mut self, at: Place, len: Size, flags: SyncFlags) -> Step {
        let (area, byte) = self.resolve(at);
        let len = self.clip(area, byte, len);
        let ret =
            self.both(Call::Msync, |half| [half.address(area, byte), len, flags.0 as usize, 0, 0, 0])?;
        // With a hole in the range the maps around it are synced all the same, and then it returns ENOMEM.
        let synced = matches!(ret, Ok(_) | Err(libc::ENOMEM)) && flags.0 & libc::MS_SYNC != 0;
        if synced && len < isize::MAX as usize {
            let written = self.shadow.shared_file_pages(area, pages(byte, len));
            self.compare_file(Some(&written), "in the range of msync(MS_SYNC)")?;
        }
        Ok(said(ret))
    }

    pub(crate) fn mremap(&mut self, op: &Op) -> Step {
        let Op::Mremap { at, old, new, flags: MoveFlags(mut flags), to } = *op else {
            unreachable!("not a mremap")
        };
        let (area, byte) = self.resolve(at);
        let mut old = self.clip(area, byte, old);
        if area > 0 {
            // Next to an island is anything, so it must be able to move, and no hole may stay in it.
            flags |= MREMAP_MAYMOVE;
            old = if old < isize::MAX as usize { self.shadow.len(area) * PAGE - byte } else { old };
        }
        // What the kernel rounds up to nothing doubles the map, as 0 does.
        let meant = if old > usize::MAX - PAGE + 1 { 0 } else { old };
        let new = if flags & MREMAP_DONTUNMAP != 0 { Size(old) } else { new };
        let to_byte = to.page * PAGE + to.byte;
        let target = pages(to_byte, new.0.min(isize::MAX as usize / 2));
        if let Err(why) = self.mremap_is_specified(area, byte, meant, flags, target) {
            return Ok(format!("left out: {why}"));
        }
        let source = pages(byte, meant);
        let first = self.shadow.page(area, byte / PAGE);
        let before = self.shadow.all_shared_file_pages();

        let args =
            |half: &Half| [half.address(area, byte), old, new.0, flags as usize, half.address(0, to_byte), 0];
        let placed = self.placing(|half| half.call(Call::Mremap, args(half)))?;
        if let (Ok((placed, at)), Some(first)) = (placed, first) {
            if flags & MREMAP_DONTUNMAP != 0 {
                self.shadow.split(area, source);
            } else if !source.is_empty() {
                self.shadow.unmap(area, source);
            }
            let (area, byte) = self.settle(placed, at);
            let page = |n| (first.file.map(|file| file + n), first.shared);
            self.shadow.map(area, byte / PAGE, (0..new.0.div_ceil(PAGE)).map(page));
        }
        self.compare_dropped(&before, "after mremap")?;
        Ok(said(placed.map(|_| 0)))
    }

    /// What of mremap depends on the kernel's version, or on which neighbours it has merged, is left out.
    fn mremap_is_specified(
        &self,
        area: Area,
        byte: usize,
        old: usize,
        flags: i32,
        target: Range<usize>,
    ) -> Result<(), &'static str> {
        let Some(first) = self.shadow.page(area, byte / PAGE) else { return Ok(()) };
        if !byte.is_multiple_of(PAGE) {
            return Ok(());
        }
        let refused = old > isize::MAX as usize || (old == 0 && (first.file.is_none() || !first.shared));
        if refused && flags & MREMAP_FIXED != 0 {
            return Err("a refused move may already have unmapped its target");
        }
        if old != 0 && !refused && !self.shadow.is_one_piece(area, pages(byte, old)) {
            return Err("the range is more than one piece");
        }
        if old == 0 && flags & MREMAP_FIXED != 0 && area == 0 && target.contains(&(byte / PAGE)) {
            return Err("the target covers the map that is to be doubled");
        }
        Ok(())
    }

    pub(crate) fn madvise(&mut self, at: Place, len: Size, advice: i32) -> Step {
        let (area, byte) = self.resolve(at);
        let range = pages(byte, self.clip(area, byte, len).min(isize::MAX as usize / 2));
        if advice == libc::MADV_FREE && self.shadow.has_private_memory(area, range) {
            return Ok("left out: the kernel frees when it likes".to_string());
        }
        self.ranged(Call::Madvise, at, len, advice)
    }

    /// Which pages are resident is the kernel's affair: only the result is compared.
    pub(crate) fn mincore(&mut self, at: Place, len: Size) -> Step {
        let (area, byte) = self.resolve(at);
        let len = self.clip(area, byte, len);
        let ret = self.both(Call::Mincore, |half| {
            [half.address(area, byte), len, half.buffer.as_mut_ptr() as usize, 0, 0, 0]
        })?;
        Ok(said(ret))
    }

    /// A call on a range that may treat a part of a map apart from the rest.
    pub(crate) fn ranged(&mut self, call: Call, at: Place, len: Size, argument: i32) -> Step {
        let (area, byte) = self.resolve(at);
        let len = self.clip(area, byte, len);
        let ret = self.both(call, |half| [half.address(area, byte), len, argument as usize, 0, 0, 0])?;
        self.shadow.split(area, pages(byte, len.min(isize::MAX as usize / 2)));
        Ok(said(ret))
    }

    /// Runs a call that returns an address; compares errno, and the offset in the arena.
    fn placing(
        &mut self,
        mut call: impl FnMut(&mut Half) -> Ret,
    ) -> Result<Result<(Placed, [usize; 2]), i32>, String> {
        let rets = self.halves.each_mut().map(&mut call);
        let [a, b] = [0, 1].map(|which| {
            let half = &self.halves[which];
            rets[which].map(|at| half.in_arena(at).map_or(Placed::Elsewhere, Placed::Arena))
        });
        equal(&a.map_err(errno_name), &b.map_err(errno_name), || "placed it at".to_string())?;
        Ok(b.map(|placed| (placed, rets.map(|ret| ret.unwrap_or(0)))))
    }

    /// The area and the byte of what was placed; elsewhere is a new island.
    fn settle(&mut self, placed: Placed, at: [usize; 2]) -> (Area, usize) {
        match placed {
            Placed::Arena(byte) => (0, byte),
            Placed::Elsewhere => {
                for (half, at) in self.halves.iter_mut().zip(at) {
                    half.areas.push(at);
                }
                (self.shadow.add_island(), 0)
            }
        }
    }

    /// The changes to pages of the file that no shared map shows any longer must have been written back.
    fn compare_dropped(&self, before: &BTreeSet<usize>, when: &str) -> Result<(), String> {
        let dropped: BTreeSet<_> = before.difference(&self.shadow.all_shared_file_pages()).copied().collect();
        if dropped.is_empty() { Ok(()) } else { self.compare_file(Some(&dropped), when) }
    }
}

/// The pages that a range of bytes touches.
fn pages(byte: usize, len: usize) -> Range<usize> {
    byte / PAGE..byte.saturating_add(len).div_ceil(PAGE)
}
