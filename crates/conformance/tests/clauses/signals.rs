//! L12: the program's own SIGSEGV and SIGBUS handlers.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{
    BUS_ADRERR, PROT_NONE, PROT_READ, SA_ONSTACK, SA_RESETHAND, SA_SIGINFO, SIGBUS, SIGSEGV, SIGUSR1,
};
use mapback_conformance::calls::mprotect;
use mapback_conformance::file::pattern;
use mapback_conformance::jump::{self, JumpBuffer};
use mapback_conformance::map::{RW, set};
use mapback_conformance::probe::{self, SEGV_ACCERR, SEGV_MAPERR};
use mapback_conformance::process::{Exit, fork};
use mapback_conformance::signals::{self, Seen, note, seen};
use mapback_conformance::{Map, TestFile, own_process, page};

/// Lets the faulting access through, as a garbage collector's or a debugger's handler does.
extern "C" fn unprotect(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the handler's own argument.
    unsafe { note(signal, info) };
    let start = seen().addr & !(page() - 1);
    if mprotect(start, page(), RW).is_err() {
        // SAFETY: ends the process; the test's expectation is wrong.
        unsafe { libc::_exit(99) };
    }
}

/// Stores and syncs in every page, so that each is tracked, stored into, and clean again.
fn work(map: &Map, file: &TestFile, value: u8) {
    for at in 0..map.len() / page() {
        map.set(at * page() + 9, value);
    }
    map.sync();
    for at in 0..map.len() / page() {
        assert_eq!(file.stored_byte(at * page() + 9), value);
    }
}

fn handler_gets_its_own_faults(install: fn(), before_the_map: bool) {
    if before_the_map {
        install();
    }
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    work(&map, &file, 1);
    if !before_the_map {
        install();
    }
    for (count, round) in (1..).zip(2..6) {
        work(&map, &file, round);
        let guarded = Map::anonymous(page(), PROT_READ);
        guarded.set(17, round);
        let fault = Seen { count, signal: SIGSEGV, code: SEGV_ACCERR, addr: guarded.at(17) };
        assert_eq!(seen(), fault, "of the guarded page, and of no page of the map");
        assert_eq!(guarded.get(17), round);
    }
}

fn install_unprotect() {
    signals::install(SIGSEGV, unprotect, 0, &[]);
}

#[test]
fn l12_a_handler_installed_before_the_first_map() {
    own_process!();
    handler_gets_its_own_faults(install_unprotect, true);
}

#[test]
fn l12_a_handler_installed_after_the_first_map() {
    own_process!();
    handler_gets_its_own_faults(install_unprotect, false);
}

#[test]
fn l12_a_write_barrier_over_a_shared_map() {
    own_process!();
    // The program itself tracks its stores by protection, on the very pages that are tracked below it.
    install_unprotect();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    let mut expected = 0;
    for round in 1..5 {
        map.protect(0, 4 * page(), PROT_READ).unwrap();
        for at in [3, 1] {
            for twice in 0..2 {
                map.set(at * page() + twice, round);
            }
            expected += 1;
            assert_eq!(seen().count, expected, "once for each page and round");
            assert_eq!((seen().addr, seen().code), (map.at(at * page()), SEGV_ACCERR));
        }
        map.sync();
        assert_eq!(file.stored(page(), 3), [round, round, pattern(page() + 2)]);
        assert_eq!(file.stored(3 * page(), 2), [round, round]);
    }
    assert_eq!(file.stored_byte(2 * page()), pattern(2 * page()));
}

#[test]
fn l12_sigbus_past_the_end_of_the_file() {
    own_process!();
    extern "C" fn grow(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the handler's own argument.
        unsafe { note(signal, info) };
        if mapback_conformance::calls::ftruncate(FILE.load(Ordering::Relaxed) as i32, 4 * page() as i64)
            .is_err()
        {
            // SAFETY: ends the process.
            unsafe { libc::_exit(98) };
        }
    }
    static FILE: AtomicUsize = AtomicUsize::new(0);
    let file = TestFile::new(page());
    FILE.store(file.fd() as usize, Ordering::Relaxed);
    signals::install(SIGBUS, grow, 0, &[]);
    let map = Map::shared(&file, 4 * page());
    map.set(0, 1);
    map.set(2 * page() + 5, 2); // faults, the handler grows the file, and the store goes through
    assert_eq!(seen(), Seen { count: 1, signal: SIGBUS, code: BUS_ADRERR, addr: map.at(2 * page() + 5) });
    map.unmap();
    assert_eq!((file.stored_byte(0), file.stored_byte(2 * page() + 5)), (1, 2));
}

#[test]
fn l12_on_the_alternate_stack_if_asked() {
    own_process!();
    let stack = vec![0u8; 256 * 1024];
    let range = stack.as_ptr() as usize..stack.as_ptr() as usize + stack.len();
    let alternate = libc::stack_t { ss_sp: stack.as_ptr() as *mut _, ss_flags: 0, ss_size: stack.len() };
    // SAFETY: the memory outlives every use, for the test's process ends before the vector does.
    assert_eq!(unsafe { libc::sigaltstack(&alternate, std::ptr::null_mut()) }, 0);
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    for (flags, on_it) in [(SA_ONSTACK, true), (0, false), (SA_ONSTACK, true)] {
        signals::install(SIGSEGV, unprotect, flags, &[]);
        work(&map, &file, flags as u8 | 1);
        Map::anonymous(page(), PROT_NONE).set(0, 1);
        assert_eq!(range.contains(&signals::stack_of_handler()), on_it, "flags {flags:#x}");
    }
    assert_eq!(seen().count, 3);
    std::mem::forget(stack);
}

#[test]
fn l12_resethand_is_spent_by_the_programs_fault_only() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    signals::install(SIGSEGV, unprotect, SA_RESETHAND, &[]);
    work(&map, &file, 1);
    work(&map, &file, 2);
    assert_eq!(signals::current(SIGSEGV).sa_sigaction, unprotect as *const () as usize, "still there");
    Map::anonymous(page(), PROT_NONE).set(0, 1);
    assert_eq!(seen().count, 1);
    assert_eq!(signals::current(SIGSEGV).sa_sigaction, libc::SIG_DFL, "used up");
    work(&map, &file, 3);
    let child = fork(|| {
        Map::anonymous(page(), PROT_NONE).set(0, 1);
        true
    });
    assert_eq!(child.wait(), Exit::Signal(SIGSEGV));
}

#[test]
fn l12_sigaction_tells_what_the_program_installed() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    for signal in [SIGSEGV, SIGBUS] {
        signals::dispose(signal, libc::SIG_DFL);
        work(&map, &file, 1);
        assert_eq!(signals::current(signal).sa_sigaction, libc::SIG_DFL);
        let before = signals::install(signal, unprotect, SA_ONSTACK, &[SIGUSR1]);
        assert_eq!(before.sa_sigaction, libc::SIG_DFL);
        work(&map, &file, 2);
        let found = signals::current(signal);
        assert_eq!(found.sa_sigaction, unprotect as *const () as usize);
        assert_eq!(found.sa_flags & (SA_SIGINFO | SA_ONSTACK | SA_RESETHAND), SA_SIGINFO | SA_ONSTACK);
        // SAFETY: only reads the set.
        let masks = [SIGUSR1, libc::SIGUSR2].map(|other| unsafe { libc::sigismember(&found.sa_mask, other) });
        assert_eq!(masks, [1, 0]);
        // SAFETY: SIG_IGN is a disposition that signal takes.
        let old = unsafe { libc::signal(signal, libc::SIG_IGN) };
        assert_eq!(old, unprotect as *const () as usize);
        assert_eq!(signals::current(signal).sa_sigaction, libc::SIG_IGN);
        work(&map, &file, 3);
    }
    // SAFETY: asks about a signal that does not exist.
    assert_eq!(unsafe { libc::sigaction(12345, std::ptr::null(), std::ptr::null_mut()) }, -1);
}

#[test]
fn l12_a_handler_of_one_argument() {
    own_process!();
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn plain(signal: i32) {
        CALLS.fetch_add(signal as usize, Ordering::Relaxed);
        let _ = mprotect(PAGE.load(Ordering::Relaxed), page(), RW);
    }
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    // SAFETY: the handler has the signature that signal wants.
    unsafe { libc::signal(SIGSEGV, plain as *const () as usize) };
    work(&map, &file, 1);
    let guarded = Map::anonymous(page(), PROT_NONE);
    PAGE.store(guarded.addr(), Ordering::Relaxed);
    guarded.set(0, 1);
    assert_eq!(CALLS.load(Ordering::Relaxed), SIGSEGV as usize);
}

/// The buffer that the handler leaves by.
struct Landing(UnsafeCell<JumpBuffer>);
// SAFETY: the test's one thread uses it.
unsafe impl Sync for Landing {}
static LANDING: std::sync::LazyLock<Landing> = std::sync::LazyLock::new(|| Landing(UnsafeCell::default()));

extern "C" fn escape(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the handler's own argument.
    unsafe { note(signal, info) };
    // SAFETY: the only faults of the tests that install this are those inside `jump::load`.
    unsafe { jump::leave(LANDING.0.get()) }
}

#[test]
fn l12_siglongjmp_out_of_the_handler() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, 3 * page());
    let guarded = Map::anonymous(page(), PROT_NONE);
    let buffer = LANDING.0.get();
    signals::install(SIGSEGV, escape, 0, &[]);
    signals::install(SIGBUS, escape, 0, &[]);
    // SAFETY: this thread alone uses the buffer, one load at a time.
    let load = |addr| unsafe { jump::load(addr, buffer) };
    for round in 1..20 {
        map.set(0, round);
        assert_eq!(load(guarded.at(3)), None);
        assert_eq!((seen().signal, seen().addr), (SIGSEGV, guarded.at(3)));
        assert_eq!(load(map.at(2 * page())), None);
        assert_eq!((seen().signal, seen().addr), (SIGBUS, map.at(2 * page())));
        assert_eq!(load(map.at(0)), Some(round));
        map.sync();
        assert_eq!(file.stored_byte(0), round);
    }
    assert_eq!(seen().count, 38);
}

#[test]
fn l12_a_handler_may_store_into_a_map() {
    own_process!();
    // SIGSEGV is blocked while its handler runs; a tracker that needs it must let such a store through all the same.
    static LOG: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn log(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        set(LOG.load(Ordering::Relaxed) + seen().count % 2 * page(), 0x40 + seen().count as u8);
        unprotect(signal, info, context);
    }
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    LOG.store(map.addr(), Ordering::Relaxed);
    signals::install(SIGSEGV, log, 0, &[]);
    for round in 0..6u8 {
        map.sync();
        Map::anonymous(page(), PROT_NONE).set(0, 1);
        map.sync();
        assert_eq!(file.stored_byte(round as usize % 2 * page()), 0x40 + round);
    }
}

#[test]
fn l12_without_a_handler_a_fault_kills() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, 2 * page());
    map.set(0, 1);
    let read_only = Map::new(page(), PROT_READ, libc::MAP_SHARED, file.fd(), 0).unwrap();
    for disposition in [libc::SIG_DFL, libc::SIG_IGN] {
        signals::dispose(SIGSEGV, disposition);
        signals::dispose(SIGBUS, disposition);
        let dies_of = |addr: usize| {
            fork(|| {
                set(addr, 1);
                true
            })
            .wait()
        };
        assert_eq!(dies_of(read_only.addr()), Exit::Signal(SIGSEGV));
        assert_eq!(dies_of(8), Exit::Signal(SIGSEGV));
        assert_eq!(dies_of(map.at(page())), Exit::Signal(SIGBUS));
        assert_eq!(dies_of(map.at(1)), Exit::Code(0));
    }
}

#[test]
fn l12_faults_that_have_nothing_to_do_with_maps() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    work(&map, &file, 1);
    let null = probe::load(0).expect_err("nothing is mapped at 0");
    assert_eq!((null.signal, null.code, null.addr), (SIGSEGV, SEGV_MAPERR, 0));
    #[cfg(target_arch = "x86_64")]
    {
        let outside = probe::store(1 << 63, 1).expect_err("no such address");
        assert_eq!((outside.signal, outside.code, outside.addr), (SIGSEGV, libc::SI_KERNEL, 0));
    }
    work(&map, &file, 2);
}

#[test]
fn l12_each_thread_gets_its_own_faults() {
    own_process!();
    let file = TestFile::new(8 * page());
    let map = Map::shared(&file, 8 * page());
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let map = &map;
            scope.spawn(move || {
                for round in 0..200u8 {
                    map.set((thread * 2) * page(), round);
                    let guarded = Map::anonymous(page(), PROT_READ);
                    let addr = guarded.at(thread);
                    assert_eq!(guarded.store(thread, 1).map_err(|fault| fault.addr), Err(addr));
                    map.set((thread * 2 + 1) * page(), round);
                    if round % 16 == thread as u8 {
                        map.sync();
                    }
                }
            });
        }
    });
    map.sync();
    for at in 0..8 {
        assert_eq!(file.stored_byte(at * page()), 199);
    }
}

#[test]
fn l12_a_forked_child_keeps_the_handlers() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    install_unprotect();
    work(&map, &file, 1);
    fork(|| {
        work(&map, &file, 2);
        Map::anonymous(page(), PROT_NONE).set(1, 1);
        work(&map, &file, 3);
        seen().count == 1
    })
    .assert_good();
    assert_eq!(seen().count, 0);
}

#[test]
fn l12_errno_survives_a_store() {
    own_process!();
    let file = TestFile::new(64 * page());
    let map = Map::shared(&file, 64 * page());
    for at in 0..64 {
        // SAFETY: errno is this thread's own.
        unsafe { *libc::__errno_location() = 77 };
        map.set(at * page(), 1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(77));
    }
}
