//! libc's `syscall`: a few calls that must not pass us by are made by number too, by programs that cannot count on
//! libc to have them. All others go to the kernel as they came.

use crate::errno;
use mapback::Errno;
use mapback::raw::Sysno;

const COPY_FILE_RANGE: i64 = Sysno::copy_file_range as i64;
const CLOSE_RANGE: i64 = Sysno::close_range as i64;
const CLONE: i64 = Sysno::clone as i64;
#[cfg(target_arch = "x86_64")]
const FORK: i64 = Sysno::fork as i64;

/// Called for the numbers above; a clone only if its child has memory and descriptors of its own and
/// goes on on the same stack.
unsafe extern "C" fn routed(number: i64, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> i64 {
    // SAFETY: the program's own request, with the arguments that the call of this number has.
    unsafe {
        match number {
            COPY_FILE_RANGE => {
                crate::writes::copy_file_range(a as i32, b as _, c as i32, d as _, e, f as u32) as i64
            }
            CLOSE_RANGE => i64::from(crate::fds::close_range(a as u32, b as u32, c as i32)),
            _ => match crate::ends::fork_by_number(number as usize, [a, b, c, d, e, f]) {
                pid @ 0.. => pid,
                errno => failed(errno),
            },
        }
    }
}

/// Sets `errno` from what the kernel answered.
extern "C" fn failed(answer: i64) -> i64 {
    errno::set(Errno::from_raw_os_error(-answer as i32));
    -1
}

/// As libc's. No frame of ours is below the call, as none of libc's is.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn syscall() {
    core::arch::naked_asm!(
        "cmp rdi, {copy_file_range}",
        "je {routed}",
        "cmp rdi, {close_range}",
        "je {routed}",
        "cmp rdi, {fork}",
        "je {routed}",
        "cmp rdi, {clone}",
        "jne 3f",
        "test rdx, rdx",
        "jne 3f",
        "test esi, {shares}",
        "je {routed}",
        "3: mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, [rsp + 8]",
        "syscall",
        "cmp rax, -4095",
        "jb 2f",
        "mov rdi, rax",
        "jmp {failed}",
        "2: ret",
        copy_file_range = const COPY_FILE_RANGE,
        close_range = const CLOSE_RANGE,
        fork = const FORK,
        clone = const CLONE,
        shares = const libc::CLONE_VM | libc::CLONE_FILES,
        routed = sym routed,
        failed = sym failed,
    )
}

/// As libc's; all seven arguments are in registers.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
#[cfg(target_arch = "aarch64")]
unsafe extern "C" fn syscall(number: i64, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> i64 {
    let forks = number == CLONE && a as i32 & (libc::CLONE_VM | libc::CLONE_FILES) == 0 && b == 0;
    if number == COPY_FILE_RANGE || number == CLOSE_RANGE || forks {
        // SAFETY: the program's own request.
        return unsafe { routed(number, a, b, c, d, e, f) };
    }
    // SAFETY: as above.
    match unsafe { mapback::raw::call_number(number as usize, [a, b, c, d, e, f]) } {
        Ok(value) => value as i64,
        Err(errno) => failed(-i64::from(errno.raw_os_error())),
    }
}
