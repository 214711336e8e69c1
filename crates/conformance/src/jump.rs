//! A fault left by `siglongjmp`, which Rust itself cannot express: the frame that is returned to twice is assembly.

use std::arch::global_asm;

/// Where a handler is to land.
///
/// Room for a `sigjmp_buf` of any architecture that is served.
#[repr(C, align(16))]
pub struct JumpBuffer([u64; 64]);

impl Default for JumpBuffer {
    fn default() -> Self {
        JumpBuffer([0; 64])
    }
}

unsafe extern "C" {
    fn mapback_load_or_jump(addr: usize, buffer: *mut JumpBuffer) -> i32;
    fn siglongjmp(buffer: *mut JumpBuffer, value: i32) -> !;
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl mapback_load_or_jump",
    "mapback_load_or_jump:",
    "    push rbx",
    "    mov rbx, rdi",
    "    mov rdi, rsi",
    "    mov esi, 1",
    "    call __sigsetjmp@PLT",
    "    test eax, eax",
    "    jnz 2f",
    "    movzx eax, byte ptr [rbx]",
    "    pop rbx",
    "    ret",
    "2:  mov eax, -1",
    "    pop rbx",
    "    ret",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl mapback_load_or_jump",
    "mapback_load_or_jump:",
    "    stp x29, x30, [sp, #-32]!",
    "    str x19, [sp, #16]",
    "    mov x19, x0",
    "    mov x0, x1",
    "    mov w1, #1",
    "    bl __sigsetjmp",
    "    cbnz w0, 2f",
    "    ldrb w0, [x19]",
    "    b 3f",
    "2:  mov w0, #-1",
    "3:  ldr x19, [sp, #16]",
    "    ldp x29, x30, [sp], #32",
    "    ret",
);

/// Loads the byte at `addr`; `None` if a handler left by [`leave`].
///
/// # Safety
/// The buffer is valid and used by no other call until this one has returned.
pub unsafe fn load(addr: usize, buffer: *mut JumpBuffer) -> Option<u8> {
    // SAFETY: the assembly keeps the callee-saved registers in its frame, which lives until either return; between
    // sigsetjmp and the load there is no other frame, so a jump skips nothing but the handler's.
    u8::try_from(unsafe { mapback_load_or_jump(addr, buffer) }).ok()
}

/// Leaves a signal handler that a fault in [`load`] with this buffer has entered.
///
/// # Safety
/// The calling thread is inside `load(_, buffer)`, and no frame between holds anything that wants to be dropped.
pub unsafe fn leave(buffer: *mut JumpBuffer) -> ! {
    // SAFETY: the caller's promise.
    unsafe { siglongjmp(buffer, 1) }
}
