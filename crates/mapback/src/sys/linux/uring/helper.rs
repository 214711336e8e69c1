//! Runs a piece of code on a kernel thread of its own while this one is suspended, as with `vfork`.
//!
//! Why a ring needs that: some milliseconds after a ring is closed, the kernel interrupts every thread that
//! used it, and the program would see an `epoll_wait` fail with `EINTR` without having caught a signal. It
//! also keeps a worker thread that buffered writes were handed to. Both end with the thread that used the ring.

use crate::sys::linux::mem;
use crate::sys::linux::signal::Blocked;
use core::arch::naked_asm;
use rustix::io::Errno;

const STACK: usize = 128 << 10;
const CLONE_VM: usize = 0x100;
const CLONE_FS: usize = 0x200;
const CLONE_FILES: usize = 0x400;
const CLONE_SIGHAND: usize = 0x800;
const CLONE_VFORK: usize = 0x4000;
const CLONE_THREAD: usize = 0x1_0000;
const CLONE_SYSVSEM: usize = 0x4_0000;
const FLAGS: usize =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_VFORK | CLONE_THREAD | CLONE_SYSVSEM;

/// The helper's stack; a child forked meanwhile does not get it.
struct Stack(usize);

impl Stack {
    fn new() -> Result<Stack, Errno> {
        let stack = Stack(mem::anonymous(STACK)?);
        // SAFETY: our own map, not yet in use. Its lowest page catches an overflow.
        unsafe {
            mem::madvise(stack.0, STACK, mem::advice::DONTFORK)?;
            mem::mprotect(stack.0, crate::sys::linux::page_size(), 0)?;
        }
        Ok(stack)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: ours; the thread that ran on it has ended.
        let _ = unsafe { mem::munmap(self.0, STACK) };
    }
}

/// Runs `work` to its end on another thread. The two share everything, thread-local variables too, since
/// only one of them runs: to the program's code the helper is this thread. A panic in it aborts.
///
/// # Errors
/// `EAGAIN` at a limit on threads, `ENOMEM`; then `work` did not run.
pub(super) fn run(work: &mut dyn FnMut()) -> Result<(), Errno> {
    let stack = Stack::new()?;
    // The helper inherits the mask: a handler must not find itself on a thread that nobody knows.
    let blocked = Blocked::new();
    let mut work = work;
    // SAFETY: the top of the stack is aligned to 16 bytes and the helper's alone; `work` outlives the
    // helper, because CLONE_VFORK suspends this thread until the helper has ended.
    let ret = unsafe { spawn(FLAGS, stack.0 + STACK, entry, &raw mut work) };
    drop(blocked);
    if ret < 0 { Err(Errno::from_raw_os_error(-ret as i32)) } else { Ok(()) }
}

extern "C" fn entry(work: *mut &mut dyn FnMut()) {
    // SAFETY: `run` lends it to us and is suspended.
    let work = unsafe { &mut *work };
    work();
}

type Entry = extern "C" fn(*mut &mut dyn FnMut());

/// `clone`: the new thread calls `entry(arg)` on the stack that ends at `top`, and exits.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn spawn(flags: usize, top: usize, entry: Entry, arg: *mut &mut dyn FnMut()) -> isize {
    naked_asm!(
        "mov r8, rdx", // both outlive the system call; clone does not look at r8 without CLONE_SETTLS
        "mov r9, rcx",
        "mov eax, 56",
        "syscall",
        "test rax, rax",
        "jnz 2f",
        "xor ebp, ebp",
        "mov rdi, r9",
        "call r8",
        "xor edi, edi",
        "mov eax, 60",
        "syscall",
        "ud2",
        "2:",
        "ret",
    )
}

/// As on x86_64.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn spawn(flags: usize, top: usize, entry: Entry, arg: *mut &mut dyn FnMut()) -> isize {
    naked_asm!(
        "mov x9, x2",
        "mov x10, x3",
        "mov x8, #220",
        "svc #0",
        "cbnz x0, 2f",
        "mov x29, xzr",
        "mov x30, xzr",
        "mov x0, x10",
        "blr x9",
        "mov x0, xzr",
        "mov x8, #93",
        "svc #0",
        "brk #1",
        "2:",
        "ret",
    )
}
