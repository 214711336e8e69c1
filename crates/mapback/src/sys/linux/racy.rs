//! Copies from and to memory that others may change meanwhile. Each side is accessed as its reference allows: the memory
//! of others by atomic bytes, that of the caller by plain ones.

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use core::sync::atomic::{AtomicU8, Ordering};

/// Copies bytes out, as relaxed atomic loads of single bytes would, in any order.
///
/// # Safety
/// `from` must be readable for as many bytes as `to` has, all of them cells. Others may access them meanwhile, if they do
/// so by atomic bytes, or are other processes.
pub(crate) unsafe fn load(from: *const u8, to: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller's word, and a slice.
    unsafe {
        copy(from, to.as_mut_ptr(), to.len());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    for (at, byte) in to.iter_mut().enumerate() {
        // SAFETY: the caller's word; a byte is always aligned, and a cell may be seen as one that is stored to.
        *byte = unsafe { AtomicU8::from_ptr(from.add(at).cast_mut()) }.load(Ordering::Relaxed);
    }
}

/// Copies bytes in, as relaxed atomic stores of single bytes would, in any order.
///
/// # Safety
/// `to` must be writable for as many bytes as `from` has. Others may access them meanwhile, as for [`load`].
pub(crate) unsafe fn store(from: &[u8], to: *mut u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller's word, and a slice.
    unsafe {
        copy(from.as_ptr(), to, from.len());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    for (at, byte) in from.iter().enumerate() {
        // SAFETY: the caller's word; a byte is always aligned.
        unsafe { AtomicU8::from_ptr(to.add(at)) }.store(*byte, Ordering::Relaxed);
    }
}

/// What both do on this processor.
///
/// # Safety
/// As for [`load`] and [`store`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's word. To the compiler an `asm` block may be any code that the language allows with these
    // operands; the loops above are such code, and do the same.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{load, store};
    use core::sync::atomic::{AtomicU8, Ordering};

    #[test]
    fn all_bytes_and_no_others_are_copied() {
        let text: Vec<u8> = (0..200).collect();
        for len in [0, 1, 7, 8, 9, 100] {
            let (cells, mut bytes) = ([const { AtomicU8::new(255) }; 200], [254u8; 200]);
            // SAFETY: the cells are more, and nobody else has them.
            unsafe { store(&text[3..3 + len], cells[5..].as_ptr().cast_mut().cast()) };
            // SAFETY: as above.
            unsafe { load(cells.as_ptr().cast(), &mut bytes[..150]) };
            assert_eq!(bytes[5..5 + len], text[3..3 + len]);
            assert!(bytes[..5].iter().chain(&bytes[5 + len..150]).all(|b| *b == 255));
            assert!(bytes[150..].iter().all(|b| *b == 254));
        }
    }

    /// For Miri: what is copied from may be a constant, and others may store to the cells.
    #[test]
    fn constants_are_copied_to_cells_that_others_change() {
        let (cells, mut bytes) = ([const { AtomicU8::new(255) }; 4], [0; 4]);
        std::thread::scope(|scope| {
            scope.spawn(|| cells[3].store(b'T', Ordering::Relaxed));
            // SAFETY: four each; the other thread uses atomics.
            unsafe { store(b"text", cells.as_ptr().cast_mut().cast()) };
            // SAFETY: as above.
            unsafe { load(cells.as_ptr().cast(), &mut bytes) };
        });
        assert!(&bytes == b"text" || &bytes == b"texT", "{bytes:?}");
    }
}
