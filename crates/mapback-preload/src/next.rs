//! The next definition of a symbol: libc's, or another interposer's.

use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A symbol, looked up when first needed.
pub(crate) struct Next {
    name: &'static CStr,
    address: AtomicUsize,
}

impl Next {
    pub(crate) const fn new(name: &'static CStr) -> Next {
        Next { name, address: AtomicUsize::new(0) }
    }

    /// The address. A program that has the symbol at all has it in libc, so there always is one; should there not
    /// be, the process ends here rather than to jump to 0.
    pub(crate) fn get(&self) -> usize {
        match self.address.load(Ordering::Relaxed) {
            0 => self.find(),
            found => found,
        }
    }

    #[cold]
    fn find(&self) -> usize {
        // SAFETY: a C string, and libc's own handle.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) } as usize;
        if found == 0 {
            let line = format!("mapback: libc has no {:?}; cannot go on\n", self.name);
            let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
            std::process::abort();
        }
        self.address.store(found, Ordering::Relaxed);
        found
    }
}

/// Calls the next definition of a libc function: `next!(fn read(fd: i32, …) -> isize)` makes a module-private
/// function `name` in the namespace `real`.
macro_rules! next {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?;)*) => {
        /// The next definitions of the functions of this file.
        #[allow(clippy::missing_safety_doc, non_snake_case)]
        mod real {
            #[allow(unused_imports)]
            use super::*;
            $(
                $(#[$meta])*
                #[inline]
                pub(super) unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
                    static NEXT: $crate::next::Next = $crate::next::Next::new(
                        // SAFETY: the literal ends with its only zero byte.
                        unsafe {
                            core::ffi::CStr::from_bytes_with_nul_unchecked(
                                concat!(stringify!($name), "\0").as_bytes(),
                            )
                        },
                    );
                    type Call = unsafe extern "C-unwind" fn($($ty),*) $(-> $ret)?;
                    // SAFETY: the symbol of this name has this type, by libc's headers.
                    let call = unsafe { core::mem::transmute::<usize, Call>(NEXT.get()) };
                    // SAFETY: the caller vouches for the arguments.
                    unsafe { call($($arg),*) }
                }
            )*
        }
    };
}
pub(crate) use next;
