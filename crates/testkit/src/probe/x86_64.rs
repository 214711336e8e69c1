//! The probes' instructions on x86-64, and where their registers lie in a signal's context.

use std::arch::global_asm;

use libc::ucontext_t;

use super::Fault;

/// What a probe hands back. Returned through memory that the caller provides, whose address the System V
/// calling convention passes in `rdi` and wants back in `rax`.
#[repr(C)]
pub(super) struct Outcome {
    /// The byte read, or the address that faulted.
    pub value: u64,
    /// 0, or the signal in the upper half and its code in the lower.
    pub signal: u64,
    /// How many bytes were not copied.
    pub left: u64,
}

impl Outcome {
    pub(super) fn fault(&self) -> Option<Fault> {
        (self.signal != 0).then_some(Fault {
            signal: (self.signal >> 32) as i32,
            code: self.signal as u32 as i32,
            addr: self.value as usize,
        })
    }
}

// Each probe has exactly one instruction that can fault. What it must hand back is in r8 (value), r9 (signal)
// and rcx (left), so that the handler only has to set registers and to resume at the end.
global_asm!(
    ".globl mapback_probe_load",
    "mapback_probe_load:",
    "mov r10, rdi",
    "xor r9d, r9d",
    "xor ecx, ecx",
    ".globl mapback_probe_load_access",
    "mapback_probe_load_access:",
    "movzx r8d, byte ptr [rsi]",
    "jmp mapback_probe_end",
    ".globl mapback_probe_store",
    "mapback_probe_store:",
    "mov r10, rdi",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "xor ecx, ecx",
    ".globl mapback_probe_store_access",
    "mapback_probe_store_access:",
    "mov byte ptr [rsi], dl",
    "jmp mapback_probe_end",
    ".globl mapback_probe_copy",
    "mapback_probe_copy:",
    "mov r10, rdi",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "mov rdi, rsi",
    "mov rsi, rdx",
    ".globl mapback_probe_copy_access",
    "mapback_probe_copy_access:",
    "rep movsb",
    ".globl mapback_probe_end",
    "mapback_probe_end:",
    "mov qword ptr [r10], r8",
    "mov qword ptr [r10 + 8], r9",
    "mov qword ptr [r10 + 16], rcx",
    "mov rax, r10",
    "ret",
);

unsafe extern "C" {
    pub(super) fn mapback_probe_load(from: *const u8) -> Outcome;
    pub(super) fn mapback_probe_store(to: *mut u8, value: u8) -> Outcome;
    pub(super) fn mapback_probe_copy(to: *mut u8, from: *const u8, len: usize) -> Outcome;
    fn mapback_probe_load_access();
    fn mapback_probe_store_access();
    fn mapback_probe_copy_access();
    fn mapback_probe_end();
}

/// Whether the context stands at a probe's access.
pub(super) fn at_probe(context: &ucontext_t) -> bool {
    let address = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    [
        mapback_probe_load_access as *const () as usize,
        mapback_probe_store_access as *const () as usize,
        mapback_probe_copy_access as *const () as usize,
    ]
    .contains(&address)
}

/// Makes the probe end with this fault.
pub(super) fn end_probe(context: &mut ucontext_t, fault: Fault) {
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_R8 as usize] = fault.addr as i64;
    registers[libc::REG_R9 as usize] = (i64::from(fault.signal) << 32) | i64::from(fault.code as u32);
    registers[libc::REG_RIP as usize] = mapback_probe_end as *const () as usize as i64;
}
