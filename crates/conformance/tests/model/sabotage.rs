//! Executors with one fault each. The model is worth something if it finds them.

use crate::arena::PAGE;
use crate::probe::{self, Fault};
use crate::side::{Args, Call, Kernel, Ret, Side};
use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};

/// What an executor does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Every fifth store or copy does not happen.
    LosesAStore,
    /// Shared maps are private: nothing is written back.
    SkipsWriteBack,
    /// msync of a hole says EINVAL.
    MistakesTheErrno,
    /// msync does not notice a hole.
    MissesAHole,
    /// mprotect rounds its length down.
    ProtectsLess,
    /// A private map of a file open for writing is shared.
    WritesPrivateChanges,
    /// munmap makes the file as long as the map (I3).
    ExtendsTheFile,
    /// MADV_DONTNEED discards the changes of shared maps.
    DiscardsSharedChanges,
    /// mmap of a descriptor that is not open for reading succeeds, with zeros.
    IgnoresAccess,
    /// A fault is reported at the start of its page.
    RoundsTheFaultAddress,
    /// What is behind the end of the file is memory.
    HidesTheEndOfFile,
    /// O_APPEND is ignored.
    OverwritesInsteadOfAppending,
    /// MAP_FIXED_NOREPLACE replaces.
    Replaces,
}

pub const ALL: [Wrong; 13] = [
    Wrong::LosesAStore,
    Wrong::SkipsWriteBack,
    Wrong::MistakesTheErrno,
    Wrong::MissesAHole,
    Wrong::ProtectsLess,
    Wrong::WritesPrivateChanges,
    Wrong::ExtendsTheFile,
    Wrong::DiscardsSharedChanges,
    Wrong::IgnoresAccess,
    Wrong::RoundsTheFaultAddress,
    Wrong::HidesTheEndOfFile,
    Wrong::OverwritesInsteadOfAppending,
    Wrong::Replaces,
];

pub struct Saboteur {
    wrong: Wrong,
    copies: usize,
    /// The last descriptor that was mapped and the end of the map in the file.
    mapped: Option<(usize, usize)>,
}

impl Saboteur {
    pub fn new(wrong: Wrong) -> Saboteur {
        Saboteur { wrong, copies: 0, mapped: None }
    }

    fn mmap(&mut self, [a, len, prot, mut flags, fd, offset]: Args) -> Ret {
        let is = |flags: usize, bits: i32| flags & bits as usize == bits as usize;
        match self.wrong {
            Wrong::SkipsWriteBack if is(flags, MAP_SHARED) && !is(flags, MAP_ANONYMOUS) => {
                let at = Kernel.call(Call::Mmap, [a, len, prot, flags, fd, offset])?;
                flags = (MAP_PRIVATE | MAP_FIXED) as usize;
                return Kernel.call(Call::Mmap, [at, len, prot, flags, fd, offset]);
            }
            Wrong::WritesPrivateChanges if is(flags, MAP_PRIVATE) => {
                let shared = Kernel.call(Call::Mmap, [a, len, prot, flags ^ 3, fd, offset]);
                if shared.is_ok() {
                    return shared;
                }
            }
            Wrong::Replaces if is(flags, libc::MAP_FIXED_NOREPLACE) => {
                flags = flags & !(libc::MAP_FIXED_NOREPLACE as usize) | MAP_FIXED as usize;
            }
            _ => {}
        }
        match Kernel.call(Call::Mmap, [a, len, prot, flags, fd, offset]) {
            Err(libc::EACCES) if self.wrong == Wrong::IgnoresAccess => {
                Kernel.call(Call::Mmap, [a, len, prot, flags | MAP_ANONYMOUS as usize, usize::MAX, 0])
            }
            done => {
                if done.is_ok() && is(flags, MAP_SHARED) && !is(flags, MAP_ANONYMOUS) {
                    self.mapped = Some((fd, offset + len));
                }
                done
            }
        }
    }

    /// Puts memory where the fault was.
    fn hide(fault: Fault) {
        let at = fault.address & !(PAGE - 1);
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        let prot = PROT_READ | PROT_WRITE;
        let _ = Kernel.call(Call::Mmap, [at, PAGE, prot as usize, flags as usize, usize::MAX, 0]);
    }
}

impl Side for Saboteur {
    fn call(&mut self, call: Call, args: Args) -> Ret {
        let [a, b, c, d, e, f] = args;
        match (self.wrong, call) {
            (_, Call::Mmap) => self.mmap(args),
            (Wrong::MistakesTheErrno, Call::Msync) => Kernel.call(call, args).map_err(|_| libc::EINVAL),
            (Wrong::MissesAHole, Call::Msync) => match Kernel.call(call, args) {
                Err(libc::ENOMEM) => Ok(0),
                ret => ret,
            },
            (Wrong::ProtectsLess, Call::Mprotect) => Kernel.call(call, [a, b & !(PAGE - 1), c, d, e, f]),
            (Wrong::ExtendsTheFile, Call::Munmap) => {
                if let Some((fd, end)) = self.mapped.take() {
                    let size = Kernel.call(Call::Lseek, [fd, 0, libc::SEEK_END as usize, 0, 0, 0]);
                    if size.is_ok_and(|size| size < end) {
                        let _ = Kernel.call(Call::Ftruncate, [fd, end, 0, 0, 0, 0]);
                    }
                }
                Kernel.call(call, args)
            }
            (Wrong::DiscardsSharedChanges, Call::Madvise) if c == libc::MADV_DONTNEED as usize => {
                let ret = Kernel.call(call, args);
                if ret.is_ok() {
                    let zeros = [0u8; PAGE];
                    probe::copy(a, zeros.as_ptr() as usize, b.min(PAGE));
                }
                ret
            }
            (Wrong::OverwritesInsteadOfAppending, Call::Openat) => {
                Kernel.call(call, [a, b, c & !(libc::O_APPEND as usize), d, e, f])
            }
            _ => Kernel.call(call, args),
        }
    }

    fn copy(&mut self, dst: usize, src: usize, n: usize) -> (usize, Option<Fault>) {
        self.copies += 1;
        match self.wrong {
            Wrong::LosesAStore if self.copies.is_multiple_of(5) => probe::copy(dst, dst, n),
            Wrong::HidesTheEndOfFile => match probe::copy(dst, src, n) {
                (_, Some(fault)) if fault.signal == libc::SIGBUS => {
                    Saboteur::hide(fault);
                    probe::copy(dst, src, n)
                }
                done => done,
            },
            Wrong::RoundsTheFaultAddress => {
                let (done, fault) = probe::copy(dst, src, n);
                (done, fault.map(|fault| Fault { address: fault.address & !(PAGE - 1), ..fault }))
            }
            _ => probe::copy(dst, src, n),
        }
    }
}
