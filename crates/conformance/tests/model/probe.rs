//! Loads and stores that survive a fault and report it.
//!
//! Three small assembly functions do every access. The handler of SIGSEGV and SIGBUS looks at the address of the
//! faulting instruction: inside one of them it notes the fault and continues at the function's `ret`, which then
//! returns how far it came. Any other fault is a crash: the handler prints the sequence that was running and lets
//! the signal kill the process.

use std::arch::global_asm;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// A fault that an access met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub signal: i32,
    pub code: i32,
    /// `si_addr`.
    pub address: usize,
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl model_copy, model_copy_end, model_load8, model_load8_end, model_store8, model_store8_end",
    // usize model_copy(dst: rdi, src: rsi, n: rdx): one byte at a time, so that a fault stops at an exact byte.
    "model_copy: xor eax, eax",
    "2: cmp rax, rdx",
    "je model_copy_end",
    "mov cl, [rsi + rax]",
    "mov [rdi + rax], cl",
    "inc rax",
    "jmp 2b",
    "model_copy_end: ret",
    // usize model_load8(src: rdi, out: rsi): 1, or 0 after a fault.
    "model_load8: xor eax, eax",
    "mov rcx, [rdi]",
    "mov [rsi], rcx",
    "mov eax, 1",
    "model_load8_end: ret",
    // usize model_store8(dst: rdi, value: rsi): 1, or 0 after a fault.
    "model_store8: xor eax, eax",
    "mov [rdi], rsi",
    "mov eax, 1",
    "model_store8_end: ret",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl model_copy, model_copy_end, model_load8, model_load8_end, model_store8, model_store8_end",
    "model_copy: mov x3, #0",
    "2: cmp x3, x2",
    "b.eq model_copy_end",
    "ldrb w4, [x1, x3]",
    "strb w4, [x0, x3]",
    "add x3, x3, #1",
    "b 2b",
    "model_copy_end: mov x0, x3",
    "ret",
    "model_load8: mov x3, #0",
    "ldr x4, [x0]",
    "str x4, [x1]",
    "mov x3, #1",
    "model_load8_end: mov x0, x3",
    "ret",
    "model_store8: mov x3, #0",
    "str x1, [x0]",
    "mov x3, #1",
    "model_store8_end: mov x0, x3",
    "ret",
);

unsafe extern "C" {
    fn model_copy(dst: usize, src: usize, n: usize) -> usize;
    fn model_copy_end();
    fn model_load8(src: usize, out: *mut u64) -> usize;
    fn model_load8_end();
    fn model_store8(dst: usize, value: u64) -> usize;
    fn model_store8_end();
}

/// The last fault. Only the thread that holds the arenas' lock probes, and the handler runs on that thread.
struct Slot(UnsafeCell<Option<Fault>>);

// SAFETY: see the type: one thread at a time writes and reads it.
unsafe impl Sync for Slot {}

static FAULT: Slot = Slot(UnsafeCell::new(None));
static RUNNING: (AtomicPtr<u8>, AtomicUsize) = (AtomicPtr::new(ptr::null_mut()), AtomicUsize::new(0));

/// Text that a crash outside the probes prints; it must stay alive until the next call.
pub fn announce(text: &str) {
    RUNNING.1.store(0, Ordering::SeqCst);
    RUNNING.0.store(text.as_ptr().cast_mut(), Ordering::SeqCst);
    RUNNING.1.store(text.len(), Ordering::SeqCst);
}

/// Copies `n` bytes, one at a time and upwards; says how many were copied, and what stopped it.
pub fn copy(dst: usize, src: usize, n: usize) -> (usize, Option<Fault>) {
    // SAFETY: the assembly touches only the two ranges; the caller gives ranges that are its own maps and buffers,
    // or not mapped, or in a hole beside them, and a fault is recovered from.
    guarded(|| unsafe { model_copy(dst, src, n) })
}

/// Loads eight bytes by one instruction, at any alignment.
pub fn load8(src: usize) -> Result<u64, Fault> {
    let mut value = 0;
    // SAFETY: as in `copy`; `value` outlives the call.
    let (_, fault) = guarded(|| unsafe { model_load8(src, &mut value) });
    fault.map_or(Ok(value), Err)
}

/// Stores eight bytes by one instruction, at any alignment.
pub fn store8(dst: usize, value: u64) -> Result<(), Fault> {
    // SAFETY: as in `copy`.
    let (_, fault) = guarded(|| unsafe { model_store8(dst, value) });
    fault.map_or(Ok(()), Err)
}

fn guarded(mut access: impl FnMut() -> usize) -> (usize, Option<Fault>) {
    install();
    // SAFETY: see `Slot`. Volatile, for the handler writes between the two.
    unsafe { FAULT.0.get().write_volatile(None) };
    let done = access();
    // SAFETY: see `Slot`.
    (done, unsafe { FAULT.0.get().read_volatile() })
}

/// Installs the handlers, by libc's own `sigaction` as a program would.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: the action is fully set: a handler with SA_SIGINFO's signature and an empty mask.
            unsafe {
                let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
                action.sa_sigaction =
                    handler as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0, "sigaction({signal})");
            }
        }
    });
}

extern "C" fn handler(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel (or mapback, which passes on what the kernel gave) hands valid pointers to an SA_SIGINFO
    // handler; `FAULT` is this thread's while it probes.
    unsafe {
        let pc = program_counter(context.cast());
        let probes: [(usize, usize); 3] = [
            (model_copy as *const () as usize, model_copy_end as *const () as usize),
            (model_load8 as *const () as usize, model_load8_end as *const () as usize),
            (model_store8 as *const () as usize, model_store8_end as *const () as usize),
        ];
        if let Some((_, end)) =
            probes.into_iter().find(|(start, end)| (*start..*end).contains(&(*pc as usize)))
        {
            let fault = Fault { signal, code: (*info).si_code, address: (*info).si_addr() as usize };
            FAULT.0.get().write_volatile(Some(fault));
            *pc = end as _;
        } else {
            crash(signal);
        }
    }
}

/// Says which sequence was running, then lets the instruction fault again without a handler.
fn crash(signal: i32) {
    let head = b"\nthe model's process crashed outside its probes; the sequence was:\n";
    // SAFETY: write(2) is async-signal-safe; the announced text stays alive; SIG_DFL is a valid disposition.
    unsafe {
        libc::write(2, head.as_ptr().cast(), head.len());
        libc::write(2, RUNNING.0.load(Ordering::SeqCst).cast(), RUNNING.1.load(Ordering::SeqCst));
        libc::signal(signal, libc::SIG_DFL);
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn program_counter(context: *mut libc::ucontext_t) -> *mut i64 {
    // SAFETY: the caller passes the context that its handler got.
    unsafe { &raw mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize] }
}

#[cfg(target_arch = "aarch64")]
unsafe fn program_counter(context: *mut libc::ucontext_t) -> *mut u64 {
    // SAFETY: the caller passes the context that its handler got.
    unsafe { &raw mut (*context).uc_mcontext.pc }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_reported_with_its_place() {
        let _alone = crate::arena::alone();
        let bytes = [1u8, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(load8(bytes.as_ptr() as usize), Ok(u64::from_le_bytes(bytes)));
        let fault = Fault { signal: libc::SIGSEGV, code: 1, address: 0x48 };
        assert_eq!(load8(0x48), Err(fault));
        assert_eq!(store8(0x48, 1), Err(fault));
        assert_eq!(copy(0x48, bytes.as_ptr() as usize, 8), (0, Some(fault)));
    }
}
