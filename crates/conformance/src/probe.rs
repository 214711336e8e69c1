//! Accesses that may fault, as values: testkit's probes, for addresses as numbers.

use mapback_testkit::probe;
pub use mapback_testkit::probe::Fault;

/// `si_code` of a SIGSEGV where nothing is mapped (the libc crate lacks it).
pub const SEGV_MAPERR: i32 = 1;
/// `si_code` of a SIGSEGV where the map forbids the access.
pub const SEGV_ACCERR: i32 = 2;

/// Loads the byte at `addr`, whatever is mapped there.
pub fn load(addr: usize) -> Result<u8, Fault> {
    // SAFETY: where tests have several threads in one map, each has bytes of its own.
    unsafe { probe::load(addr as *const u8) }
}

/// Stores `value` at `addr`, whatever is mapped there: the test's own memory or nothing.
pub fn store(addr: usize, value: u8) -> Result<(), Fault> {
    // SAFETY: the test passes no address that belongs to Rust; for races see `load`.
    unsafe { probe::store(addr as *mut u8, value) }
}
