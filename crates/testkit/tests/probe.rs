//! The probes tell how an access faults, and keep out of everybody else's faults.

mod support;

use std::thread;

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE, SIGBUS, SIGSEGV};
use mapback_testkit::probe::{self, Fault, SliceFault};
use support::{KernelMap, PAGE};

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRERR: i32 = 2;

fn load(at: *const u8) -> Result<u8, Fault> {
    // SAFETY: each test only looks at memory of its own.
    unsafe { probe::load(at) }
}

fn store(at: *mut u8, value: u8) -> Result<(), Fault> {
    // SAFETY: each test only writes to memory of its own.
    unsafe { probe::store(at, value) }
}

#[test]
fn reads_and_writes_what_can_be_accessed() {
    let map = KernelMap::new(None, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE).unwrap();
    assert_eq!(store(map.start, 200), Ok(()));
    assert_eq!(load(map.start), Ok(200));
}

#[test]
fn no_access_and_no_write_are_segv_accerr_at_the_address() {
    let none = KernelMap::new(None, PAGE, PROT_NONE, MAP_PRIVATE).unwrap();
    let at = none.start.wrapping_add(123);
    let fault = Fault { signal: SIGSEGV, code: SEGV_ACCERR, addr: at as usize };
    assert_eq!(load(at), Err(fault));
    assert_eq!(store(at, 1), Err(fault));

    let read_only = KernelMap::new(None, PAGE, PROT_READ, MAP_PRIVATE).unwrap();
    let fault = Fault { signal: SIGSEGV, code: SEGV_ACCERR, addr: read_only.start as usize };
    assert_eq!(load(read_only.start), Ok(0));
    assert_eq!(store(read_only.start, 1), Err(fault));
}

#[test]
fn an_unmapped_address_is_segv_maperr() {
    // Below mmap_min_addr nothing is ever mapped.
    let at = std::ptr::without_provenance_mut(16);
    let fault = Fault { signal: SIGSEGV, code: SEGV_MAPERR, addr: 16 };
    assert_eq!(load(at), Err(fault));
    assert_eq!(store(at, 1), Err(fault));
}

#[test]
fn past_the_end_of_a_mapped_file_is_sigbus() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(10).unwrap();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let map = KernelMap::new(Some(&file), 2 * PAGE, PROT_READ | PROT_WRITE, flags).unwrap();
        let past = map.start.wrapping_add(PAGE);
        let fault = Fault { signal: SIGBUS, code: BUS_ADRERR, addr: past as usize };
        assert_eq!(load(map.start.wrapping_add(PAGE - 1)), Ok(0));
        assert_eq!(load(past), Err(fault));
        assert_eq!(store(past, 1), Err(fault));
    }
}

#[test]
fn slices_say_how_far_they_came() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGE as u64).unwrap();
    let map = KernelMap::new(Some(&file), 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED).unwrap();
    let near_end = map.start.wrapping_add(PAGE - 5);
    let past = map.start as usize + PAGE;
    let fault = SliceFault { fault: Fault { signal: SIGBUS, code: BUS_ADRERR, addr: past }, done: 5 };
    // SAFETY: the map is this test's alone.
    unsafe {
        assert_eq!(probe::store_slice(near_end, b"hello"), Ok(()));
        assert_eq!(probe::store_slice(near_end, b"HELLO, world"), Err(fault));
        let mut read = [b'.'; 8];
        assert_eq!(probe::load_slice(near_end, &mut read), Err(fault));
        assert_eq!(&read, b"HELLO...");
    }
}

#[test]
fn many_threads_probe_at_once() {
    let good = KernelMap::new(None, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE).unwrap();
    let bad = KernelMap::new(None, PAGE, PROT_NONE, MAP_PRIVATE).unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let (good, bad) = (&good, &bad);
            scope.spawn(move || {
                for round in 0..2000 {
                    let at = bad.start.wrapping_add(thread * 100 + round % 100);
                    assert_eq!(load(at).unwrap_err().addr, at as usize);
                    store(good.start.wrapping_add(thread), round as u8).unwrap();
                    assert_eq!(load(good.start.wrapping_add(thread)), Ok(round as u8));
                }
            });
        }
    });
}

#[test]
fn a_failed_probe_keeps_errno() {
    let none = KernelMap::new(None, PAGE, PROT_NONE, MAP_PRIVATE).unwrap();
    // SAFETY: errno belongs to this thread.
    unsafe { *libc::__errno_location() = libc::EXDEV };
    load(none.start).unwrap_err();
    // SAFETY: as above.
    assert_eq!(unsafe { *libc::__errno_location() }, libc::EXDEV);
}
