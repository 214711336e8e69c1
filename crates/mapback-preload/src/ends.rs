//! What ends a process, or starts another: everything is written back first (P31).
//!
//! A process may still store after that, in another thread or a later destructor. The handler that libc runs last
//! of all is ours: it is registered before the dynamic linker's own, so that every destructor has run by then.

use crate::next::Next;
use crate::{alloc, existing, next::next, settings};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, Ordering};
use libc::{c_char, c_int, c_void, pid_t};

next! {
    fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn execv(path: *const c_char, argv: *const *const c_char) -> c_int;
    fn execvp(file: *const c_char, argv: *const *const c_char) -> c_int;
    fn execvpe(file: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn fexecve(fd: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn execveat(dir: c_int, path: *const c_char, argv: *const *const c_char, envp: *const *const c_char,
        flags: c_int) -> c_int;
    fn posix_spawn(pid: *mut pid_t, path: *const c_char, actions: *const c_void, attr: *const c_void,
        argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn posix_spawnp(pid: *mut pid_t, file: *const c_char, actions: *const c_void, attr: *const c_void,
        argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn system(command: *const c_char) -> c_int;
    fn popen(command: *const c_char, kind: *const c_char) -> *mut libc::FILE;
    fn _Fork() -> pid_t;
    fn clone(run: ChildMain, stack: *mut c_void, flags: c_int, arg: *mut c_void, parent_tid: *mut pid_t,
        tls: *mut c_void, child_tid: *mut pid_t) -> c_int;
    fn __register_atfork(before: Option<Handler>, parent: Option<Handler>, child: Option<Handler>,
        object: *mut c_void) -> c_int;
}

/// What a child of `clone` runs.
type ChildMain = unsafe extern "C" fn(*mut c_void) -> c_int;

/// A handler of `pthread_atfork`.
type Handler = unsafe extern "C" fn();

unsafe extern "C" {
    fn __cxa_atexit(run: extern "C" fn(*mut c_void), arg: *mut c_void, object: *mut c_void) -> c_int;
    fn __cxa_at_quick_exit(run: extern "C" fn(*mut c_void), object: *mut c_void) -> c_int;
}

/// Registers what runs at exit and around a fork.
pub(crate) fn register() {
    // SAFETY: the functions live as long as the process: a preloaded library is never unloaded. No object is named,
    // so that they do not run when this library's own destructors do, but at the very end.
    unsafe {
        __cxa_atexit(at_exit, core::ptr::null_mut(), core::ptr::null_mut());
        __cxa_at_quick_exit(at_exit, core::ptr::null_mut());
    }
    register_fork();
}

/// Registers what runs around a fork, before anybody else registers anything: so that of all handlers ours runs last
/// before the fork, when no other has to wait for a lock any more that a thread may hold while it calls us.
fn register_fork() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        // SAFETY: the functions live as long as the process; no object is named, so that none takes them away.
        unsafe {
            real::__register_atfork(
                Some(before_fork),
                Some(in_parent),
                Some(in_child),
                core::ptr::null_mut(),
            );
        }
    }
}

/// What `pthread_atfork` is in a program: ours come first.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __register_atfork(
    before: Option<Handler>,
    parent: Option<Handler>,
    child: Option<Handler>,
    object: *mut c_void,
) -> c_int {
    register_fork();
    // SAFETY: the program's own request.
    unsafe { real::__register_atfork(before, parent, child, object) }
}

/// Writes everything back.
fn flush() {
    if let Some(space) = existing() {
        space.flush_all();
    }
}

extern "C" fn at_exit(_: *mut c_void) {
    finish();
    depart();
}

/// Nothing of the program runs any more: its images are let go of.
fn depart() {
    if let Some(space) = existing() {
        space.depart();
    }
}

/// The process ends: everything is written back, and the statistics are told.
fn finish() {
    if let Some(space) = existing() {
        space.flush_all();
        if space.is_owner() {
            settings::write_stats(space);
        }
    }
}

extern "C" fn before_fork() {
    if let Some(space) = existing() {
        space.before_fork();
    }
    alloc::before_fork();
}

extern "C" fn in_parent() {
    // SAFETY: libc runs this on the thread on which it ran `before_fork`.
    unsafe {
        alloc::after_fork();
        if let Some(space) = existing() {
            space.after_fork_in_parent();
        }
    }
}

extern "C" fn in_child() {
    // SAFETY: as in the parent, on the copy of that thread.
    unsafe {
        alloc::after_fork();
        if let Some(space) = existing() {
            space.after_fork_in_child();
        }
    }
}

/// A fork that runs no handlers of libc's, so that we run our own.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn _Fork() -> pid_t {
    before_fork();
    // SAFETY: the program's own request.
    let pid = unsafe { real::_Fork() };
    if pid == 0 {
        in_child()
    } else {
        in_parent()
    }
    pid
}

/// What the program wants its child to run.
struct Child {
    run: ChildMain,
    arg: *mut c_void,
}

/// Runs first in a child that has memory of its own.
unsafe extern "C" fn child_main(child: *mut c_void) -> c_int {
    in_child();
    // SAFETY: on the stack of the parent's `clone`, of which the child has a copy.
    let Child { run, arg } = unsafe { child.cast::<Child>().read() };
    // SAFETY: the program's own.
    let status = unsafe { run(arg) };
    // What libc does next is a system call that nobody sees.
    finish();
    depart();
    status
}

/// Without `CLONE_VM` it is a fork by another name.
///
/// # Safety
/// As libc's; the last three arguments are there only if the flags ask for them, else nobody looks at them.
#[unsafe(no_mangle)]
unsafe extern "C" fn clone(
    run: ChildMain,
    stack: *mut c_void,
    flags: c_int,
    arg: *mut c_void,
    parent_tid: *mut pid_t,
    tls: *mut c_void,
    child_tid: *mut pid_t,
) -> c_int {
    // Who shares descriptors with its parent must not close the parent's.
    if flags & (libc::CLONE_VM | libc::CLONE_FILES) != 0 {
        // SAFETY: the program's own request.
        return unsafe { real::clone(run, stack, flags, arg, parent_tid, tls, child_tid) };
    }
    let mut child = Child { run, arg };
    before_fork();
    // SAFETY: the program's own request, but for what runs first in the child.
    let pid =
        unsafe { real::clone(child_main, stack, flags, (&raw mut child).cast(), parent_tid, tls, child_tid) };
    in_parent();
    pid
}

/// A fork by number, or a clone of the same kind, which has no handlers.
///
/// # Safety
/// As the system call.
pub(crate) unsafe fn fork_by_number(number: usize, args: [usize; 6]) -> i64 {
    before_fork();
    // SAFETY: the program's own request; the child goes on here, on a stack of its own.
    let pid = unsafe { mapback::raw::call_number(number, args) };
    if pid == Ok(0) {
        in_child();
    } else {
        in_parent();
    }
    pid.map_or_else(|errno| -i64::from(errno.raw_os_error()), |pid| pid as i64)
}

/// # Safety
/// As libc's: does not return.
#[unsafe(no_mangle)]
unsafe extern "C" fn _exit(status: c_int) -> ! {
    finish();
    depart();
    exit_group(status)
}

/// # Safety
/// As `_exit`.
#[unsafe(no_mangle)]
unsafe extern "C" fn _Exit(status: c_int) -> ! {
    // SAFETY: the same function.
    unsafe { _exit(status) }
}

/// Ends the process by SIGABRT without running anything of its own: after an internal error.
pub(crate) fn kill_by_abort() -> ! {
    mapback::raw::signal::die(libc::SIGABRT);
    exit_group(134)
}

fn exit_group(status: c_int) -> ! {
    loop {
        // SAFETY: ends the process.
        let _ =
            unsafe { mapback::raw::call(mapback::raw::Sysno::exit_group, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Exports functions that write everything back and then go on to libc's, with the arguments as they came.
macro_rules! after_flush {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        /// Writes everything back, then does what libc does.
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
            flush();
            // SAFETY: the program's own request.
            unsafe { real::$name($($arg),*) }
        }
    )*};
}

/// As [`after_flush`], for what comes back only if it failed: the program's maps end with it.
macro_rules! ending {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        /// Writes everything back, then does what libc does.
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
            flush();
            if let Some(space) = existing() {
                space.owes_nothing(true);
            }
            // SAFETY: the program's own request.
            let failed = unsafe { real::$name($($arg),*) };
            if let Some(space) = existing() {
                space.owes_nothing(false);
            }
            failed
        }
    )*};
}

ending! {
    fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn execv(path: *const c_char, argv: *const *const c_char) -> c_int;
    fn execvp(file: *const c_char, argv: *const *const c_char) -> c_int;
    fn execvpe(file: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn fexecve(fd: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn execveat(dir: c_int, path: *const c_char, argv: *const *const c_char, envp: *const *const c_char,
        flags: c_int) -> c_int;
}

after_flush! {
    fn posix_spawn(pid: *mut pid_t, path: *const c_char, actions: *const c_void, attr: *const c_void,
        argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn posix_spawnp(pid: *mut pid_t, file: *const c_char, actions: *const c_void, attr: *const c_void,
        argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn system(command: *const c_char) -> c_int;
    fn popen(command: *const c_char, kind: *const c_char) -> *mut libc::FILE;
}

static EXECL: Next = Next::new(c"execl");
static EXECLP: Next = Next::new(c"execlp");
static EXECLE: Next = Next::new(c"execle");
static VFORK: Next = Next::new(c"vfork");
static ABORT: Next = Next::new(c"abort");

/// Called by the trampolines: writes everything back and says where to go on.
extern "C" fn flush_then(next: &'static Next) -> usize {
    flush();
    next.get()
}

/// As [`flush_then`], and tells the statistics: the process ends.
extern "C" fn finish_then(next: &'static Next) -> usize {
    finish();
    next.get()
}

/// A function whose arguments are unknown in number, or that must not have a frame of ours below it (`vfork` returns
/// twice): keeps all that may be an argument, calls `$first`, and jumps to the next definition.
macro_rules! trampoline {
    ($name:ident, $next:ident, $first:ident) => {
        /// Writes everything back, then goes on in libc with the arguments and the stack as they came.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        #[cfg(target_arch = "x86_64")]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax",
                "lea rdi, [rip + {next}]",
                "call {first}",
                "mov r11, rax",
                "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                "jmp r11",
                next = sym $next,
                first = sym $first,
            )
        }

        /// Writes everything back, then goes on in libc with the arguments and the stack as they came.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        #[cfg(target_arch = "aarch64")]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "stp x29, x30, [sp, #-80]!",
                "stp x0, x1, [sp, #16]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "adrp x0, {next}",
                "add x0, x0, :lo12:{next}",
                "bl {first}",
                "mov x16, x0",
                "ldp x0, x1, [sp, #16]",
                "ldp x2, x3, [sp, #32]",
                "ldp x4, x5, [sp, #48]",
                "ldp x6, x7, [sp, #64]",
                "ldp x29, x30, [sp], #80",
                "br x16",
                next = sym $next,
                first = sym $first,
            )
        }
    };
}

trampoline!(execl, EXECL, flush_then);
trampoline!(execlp, EXECLP, flush_then);
trampoline!(execle, EXECLE, flush_then);
trampoline!(vfork, VFORK, flush_then);
trampoline!(abort, ABORT, finish_then);
