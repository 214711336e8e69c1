//! The address space that the two sides work in: two ranges of the same shape.
//!
//! They lie low, far below the addresses at which the kernel places what nobody placed: it goes downwards from the
//! stack and would have to fill terabytes first. So a hole in an arena stays a hole, and its two sides stay alike.

use crate::side::{Call, Kernel, Ret, Side};
use std::sync::{Mutex, MutexGuard};

pub const PAGE: usize = 4096;
/// The pages at which an operation may start.
pub const STARTS: usize = 14;
/// The pages of an arena; an operation that starts at the last start stays inside, and the last page stays a hole.
pub const PAGES: usize = STARTS + 18;
/// Where the two arenas are.
pub const BASES: [usize; 2] = [0x10_0000_0000, 0x18_0000_0000];

/// The arenas, the fault slot and the handlers are one per process: whoever uses them holds this.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What both sides together may have locked at once, generously.
const LOCKABLE: usize = 4 << 20;

/// Panics unless both arenas are free and the system is one that the model is made for.
pub fn assert_usable() {
    // SAFETY: sysconf takes a number and touches no memory.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    assert_eq!(page, PAGE as libc::c_long, "the model knows only pages of {PAGE} bytes");
    for base in BASES {
        let got = anonymous(base, PAGES * PAGE, libc::MAP_FIXED_NOREPLACE);
        assert_eq!(got, Ok(base), "the {} bytes at {base:#x} are not free for an arena", PAGES * PAGE);
        unmap(base, PAGES * PAGE);
    }
    let at = anonymous(0, LOCKABLE, 0).expect("mmap of anonymous memory");
    let locked = Kernel.call(Call::Mlock, [at, LOCKABLE, 0, 0, 0, 0]);
    unmap(at, LOCKABLE);
    // The limit is the process's: with too little of it one side would take it from the other.
    assert_eq!(
        locked,
        Ok(0),
        "cannot lock {LOCKABLE} bytes of memory: raise the limit, `ulimit -l unlimited`"
    );
}

fn anonymous(at: usize, len: usize, flags: i32) -> Ret {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    Kernel.call(Call::Mmap, [at, len, prot as usize, flags as usize, usize::MAX, 0])
}

fn unmap(at: usize, len: usize) {
    Kernel.call(Call::Munmap, [at, len, 0, 0, 0, 0]).expect("munmap of what was just mapped");
}
