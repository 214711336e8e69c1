//! The end of the process or of the DLL, of which the loader and the C run-time library tell us.

use crate::space::existing;
use core::ffi::{c_int, c_void};

/// What the loader calls when a thread or the process begins or ends.
type TlsCallback = unsafe extern "system" fn(*mut c_void, u32, *mut c_void);

#[used]
#[unsafe(link_section = ".CRT$XLC")]
static CALLBACK: TlsCallback = on_event;

/// Sees to it that the process's end is noticed: by [`CALLBACK`], which this keeps the linker from leaving out, and
/// by the C run-time library, which calls a program's own handlers while other threads still run.
pub(super) fn begin() {
    unsafe extern "C" {
        fn atexit(run: extern "C" fn()) -> c_int;
    }
    // SAFETY: a static of this very file; a function that lives as long as the library.
    unsafe {
        (&raw const CALLBACK).read_volatile();
        atexit(at_exit);
    }
}

extern "C" fn at_exit() {
    // In a DLL this is called only when other threads are gone.
    finish(process_ends());
}

fn process_ends() -> bool {
    #[link(name = "ntdll", kind = "raw-dylib")]
    unsafe extern "system" {
        fn RtlDllShutdownInProgress() -> u8;
    }
    // SAFETY: asks.
    unsafe { RtlDllShutdownInProgress() != 0 }
}

fn finish(alone: bool) {
    if let Some(space) = existing() {
        mapback::windows::last_call(alone, || space.finish_all());
    }
}

unsafe extern "system" fn on_event(_module: *mut c_void, reason: u32, _reserved: *mut c_void) {
    const DLL_PROCESS_DETACH: u32 = 0;
    if reason == DLL_PROCESS_DETACH {
        let ends = process_ends();
        finish(ends);
        if !ends {
            mapback::windows::unload();
        }
    }
}
