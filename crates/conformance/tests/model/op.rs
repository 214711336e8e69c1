//! One operation of a sequence, readable when printed: `Munmap { at: arena[3], len: 2p }`.

use crate::arena::PAGE;
use std::fmt;

/// A place in a map: in the arena, or in an island, which is where the kernel placed something by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Islands are counted modulo how many there are; without any it is the arena.
    pub island: Option<u8>,
    pub page: usize,
    pub byte: usize,
    /// `page` counts the arena's mapped pages, if it has any, instead of all.
    pub mapped: bool,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.island {
            None if self.mapped => write!(f, "mapped[{}", self.page)?,
            None => write!(f, "arena[{}", self.page)?,
            Some(n) => write!(f, "island{n}[{}", self.page)?,
        }
        if self.byte != 0 { write!(f, ":{}]", self.byte) } else { write!(f, "]") }
    }
}

/// A number of bytes, printed as pages where it is so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let from_the_top = self.0.wrapping_neg();
        if self.0 == 0 {
            write!(f, "0")
        } else if from_the_top < 1 << 20 {
            write!(f, "-{from_the_top}")
        } else if self.0.is_multiple_of(PAGE) {
            write!(f, "{}p", self.0 / PAGE)
        } else if self.0 > PAGE {
            write!(f, "{}p+{}", self.0 / PAGE, self.0 % PAGE)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Declares a newtype of flag bits that prints their names.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident, $zero:literal, $($flag:ident),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub i32);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                let mut rest = self.0;
                let mut names = Vec::new();
                $(if rest & libc::$flag == libc::$flag {
                    names.push(stringify!($flag).to_string());
                    rest &= !libc::$flag;
                })+
                if rest != 0 {
                    names.push(format!("{rest:#x}"));
                }
                if names.is_empty() {
                    names.push($zero.to_string());
                }
                f.write_str(&names.join("|"))
            }
        }
    };
}

flags!(Prot, "PROT_NONE", PROT_READ, PROT_WRITE, PROT_EXEC);
flags!(
    MapFlags,
    "0",
    MAP_SHARED_VALIDATE,
    MAP_SHARED,
    MAP_PRIVATE,
    MAP_ANONYMOUS,
    MAP_FIXED_NOREPLACE,
    MAP_FIXED,
    MAP_POPULATE,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_STACK,
    MAP_NONBLOCK,
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_SYNC
);
flags!(SyncFlags, "0", MS_ASYNC, MS_SYNC, MS_INVALIDATE);
flags!(MoveFlags, "0", MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP);

/// A descriptor that both sides hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fd {
    ReadWrite,
    ReadOnly,
    WriteOnly,
    Append,
    Directory,
    /// Not open.
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `at` is `None` for a null address. `fresh`: by a descriptor opened for this and closed at once.
    Mmap {
        at: Option<Place>,
        len: Size,
        prot: Prot,
        flags: MapFlags,
        fd: Fd,
        offset: Size,
        fresh: bool,
    },
    Munmap {
        at: Place,
        len: Size,
    },
    Mprotect {
        at: Place,
        len: Size,
        prot: Prot,
    },
    Msync {
        at: Place,
        len: Size,
        flags: SyncFlags,
    },
    Mremap {
        at: Place,
        old: Size,
        new: Size,
        flags: MoveFlags,
        to: Place,
    },
    Madvise {
        at: Place,
        len: Size,
        advice: i32,
    },
    Mincore {
        at: Place,
        len: Size,
    },
    Mlock {
        at: Place,
        len: Size,
    },
    Munlock {
        at: Place,
        len: Size,
    },
    /// Stores `value`, `value + 1`, … at `len` bytes.
    Store {
        at: Place,
        len: Size,
        value: u8,
    },
    Store8 {
        at: Place,
        value: u64,
    },
    Load {
        at: Place,
        len: Size,
    },
    Load8 {
        at: Place,
    },
    /// Byte by byte, upwards.
    Copy {
        from: Place,
        to: Place,
        len: Size,
    },
    Ftruncate {
        fd: Fd,
        size: Size,
    },
    /// By path.
    Truncate {
        size: Size,
    },
    Fallocate {
        fd: Fd,
        mode: i32,
        offset: Size,
        len: Size,
    },
    /// Into two buffers.
    Preadv {
        fd: Fd,
        len: Size,
        offset: Size,
    },
    Pwritev {
        fd: Fd,
        len: Size,
        offset: Size,
        value: u8,
    },
    /// copy_file_range from the other file to the mapped one.
    CopyIn {
        fd: Fd,
        len: Size,
        offset: Size,
    },
    /// copy_file_range from the mapped file to the other one.
    CopyOut {
        fd: Fd,
        len: Size,
        offset: Size,
    },
    Pread {
        fd: Fd,
        len: Size,
        offset: Size,
    },
    Pwrite {
        fd: Fd,
        len: Size,
        offset: Size,
        value: u8,
    },
    Read {
        fd: Fd,
        len: Size,
    },
    Write {
        fd: Fd,
        len: Size,
        value: u8,
    },
    Lseek {
        fd: Fd,
        offset: Size,
        whence: i32,
    },
    Fsync {
        fd: Fd,
    },
    Fdatasync {
        fd: Fd,
    },
    /// The kernel stores into the map: pread of another file.
    PreadInto {
        at: Place,
        len: Size,
    },
    /// The kernel loads from the map: pwrite to another file.
    PwriteFrom {
        at: Place,
        len: Size,
    },
    /// Closes and opens again, with O_TRUNC where it is said.
    Reopen {
        fd: Fd,
        truncate: bool,
    },
    Unlink,
}

impl Op {
    /// The operation without its arguments.
    pub fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split(' ').next().unwrap_or_default().to_string()
    }

    /// The places that the operation names.
    pub fn places(&mut self) -> Vec<&mut Place> {
        match self {
            Op::Mmap { at, .. } => at.iter_mut().collect(),
            Op::Mremap { at, to, .. } => vec![at, to],
            Op::Copy { from, to, .. } => vec![from, to],
            Op::Munmap { at, .. }
            | Op::Mprotect { at, .. }
            | Op::Msync { at, .. }
            | Op::Madvise { at, .. }
            | Op::Mincore { at, .. }
            | Op::Mlock { at, .. }
            | Op::Munlock { at, .. }
            | Op::Store { at, .. }
            | Op::Store8 { at, .. }
            | Op::Load { at, .. }
            | Op::Load8 { at }
            | Op::PreadInto { at, .. }
            | Op::PwriteFrom { at, .. } => vec![at],
            _ => Vec::new(),
        }
    }
}
