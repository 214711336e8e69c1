//! Copies of memory that others may store to meanwhile.

/// Copies bytes as a loop of relaxed atomic loads and stores of single bytes would, in any order.
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes; they must not overlap. Others may access them meanwhile, if
/// they do so by atomic bytes, or are other processes.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller's word. To the compiler an `asm` block may be any code that the language allows with these
    // operands; the loop below is such code, and does the same.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    for at in 0..len {
        use core::sync::atomic::{AtomicU8, Ordering};
        // SAFETY: the caller's word; a byte is always aligned. `from` is only loaded from.
        unsafe {
            let byte = AtomicU8::from_ptr(from.add(at).cast_mut()).load(Ordering::Relaxed);
            AtomicU8::from_ptr(to.add(at)).store(byte, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_bytes_and_no_others_are_copied() {
        for len in [0, 1, 7, 8, 9, 100] {
            let (from, mut to) = ((0..200u8).collect::<Vec<_>>(), [255u8; 200]);
            // SAFETY: both are longer, and nobody else has them.
            unsafe { super::copy(from.as_ptr().wrapping_add(3), to.as_mut_ptr().wrapping_add(5), len) };
            assert_eq!(to[5..5 + len], from[3..3 + len]);
            assert!(to[..5].iter().chain(&to[5 + len..]).all(|b| *b == 255));
        }
    }
}
