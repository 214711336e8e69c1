//! L12: blocked signals, and signals that no fault has sent.

use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{PROT_NONE, SA_NODEFER, SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SIGBUS, SIGSEGV, SIGUSR1, SIGUSR2};
use mapback_conformance::map::{RW, set};
use mapback_conformance::process::tracked_by_faults;
use mapback_conformance::signals::{self, note, seen};
use mapback_conformance::{Map, TestFile, own_process, page};

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Stores into clean pages and looks whether the file gets the bytes.
fn work(map: &Map, file: &TestFile, value: u8) {
    for at in 0..map.len() / page() {
        map.set(at * page() + 9, value);
    }
    map.sync();
    for at in 0..map.len() / page() {
        assert_eq!(file.stored_byte(at * page() + 9), value);
    }
}

extern "C" fn only_note(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the handler's own argument.
    unsafe { note(signal, info) };
}

extern "C" fn unprotect(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the handler's own argument.
    unsafe { note(signal, info) };
    let _ = mapback_conformance::calls::mprotect(seen().addr & !(page() - 1), page(), RW);
}

#[test]
fn l12_stores_while_sigsegv_is_blocked() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    signals::mask(SIG_BLOCK, &[SIGSEGV, SIGBUS]);
    work(&map, &file, 1);
    work(&map, &file, 2);
    signals::mask(SIG_UNBLOCK, &[SIGSEGV]);
    signals::block_all();
    work(&map, &file, 3);
    assert_eq!(map.get(page() + 9), 3);
    let mapped_while_blocked = Map::shared(&file, 4 * page());
    work(&mapped_while_blocked, &file, 4);
}

#[test]
fn l12_stores_by_a_thread_that_was_born_with_all_signals_blocked() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    let before = signals::block_all();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // L12: with `fault` a new thread does not inherit that the program believes SIGSEGV to be blocked.
            if !tracked_by_faults() {
                assert_ne!(signals::blocked() & bit(SIGSEGV), 0);
            }
            work(&map, &file, 1);
            work(&map, &file, 2);
        });
    });
    assert_eq!(before & bit(SIGSEGV), 0);
    work(&map, &file, 3);
}

#[test]
fn l12_stores_in_a_handler_whose_mask_holds_everything() {
    own_process!();
    static TARGET: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn store(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the handler's own argument.
        unsafe { note(signal, info) };
        set(TARGET.load(Ordering::Relaxed), seen().count as u8);
    }
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    TARGET.store(map.addr(), Ordering::Relaxed);
    let all: Vec<i32> = (1..32).collect();
    signals::install(SIGUSR1, store, 0, &all);
    for round in 1..5 {
        map.sync();
        // SAFETY: raise sends a signal to this thread, which handles it.
        unsafe { libc::raise(SIGUSR1) };
        map.sync();
        assert_eq!(file.stored_byte(0), round);
    }
}

#[test]
fn l12_the_mask_reads_back_as_the_program_set_it() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    assert_eq!(signals::blocked() & (bit(SIGSEGV) | bit(SIGUSR1)), 0);
    assert_eq!(signals::mask(SIG_BLOCK, &[SIGSEGV, SIGUSR1]) & bit(SIGSEGV), 0);
    work(&map, &file, 1);
    assert_eq!(signals::blocked(), bit(SIGSEGV) | bit(SIGUSR1));
    assert_eq!(signals::mask(SIG_UNBLOCK, &[SIGUSR1]), bit(SIGSEGV) | bit(SIGUSR1));
    assert_eq!(signals::blocked(), bit(SIGSEGV));
    let mut old = signals::set_of(&[]);
    let new = signals::set_of(&[SIGBUS, SIGUSR2]);
    // SAFETY: both sets are valid.
    assert_eq!(unsafe { libc::sigprocmask(SIG_SETMASK, &new, &mut old) }, 0);
    // SAFETY: only reads the set.
    assert_eq!(unsafe { libc::sigismember(&old, SIGSEGV) }, 1);
    assert_eq!(signals::blocked(), bit(SIGBUS) | bit(SIGUSR2));
    work(&map, &file, 2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(signals::blocked(), bit(SIGBUS) | bit(SIGUSR2), "a new thread inherits the mask")
        });
    });
}

#[test]
fn l12_the_handlers_mask_is_honoured() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    for (flags, own_blocked) in [(0, true), (SA_NODEFER, false)] {
        signals::install(SIGSEGV, unprotect, flags, &[SIGUSR2]);
        work(&map, &file, 1 + flags as u8);
        Map::anonymous(page(), PROT_NONE).set(0, 1);
        assert!(signals::was_blocked_in_handler(SIGUSR2));
        assert!(!signals::was_blocked_in_handler(SIGUSR1));
        // L12: with `fault` SIGSEGV is open even in its own handler, which may store into an armed page.
        let own_blocked = own_blocked && !tracked_by_faults();
        assert_eq!(signals::was_blocked_in_handler(SIGSEGV), own_blocked, "flags {flags:#x}");
        assert_eq!(signals::blocked(), 0, "and undone afterwards");
    }
    assert_eq!(seen().count, 2);
}

#[test]
fn l12_a_sigsegv_that_was_sent_is_delivered_as_sent() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    for (index, signal) in [SIGSEGV, SIGBUS].into_iter().enumerate() {
        signals::install(signal, only_note, 0, &[]);
        work(&map, &file, 1);
        // SAFETY: this thread handles the signal.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
        assert_eq!((seen().count, seen().signal, seen().code), (index * 2 + 1, signal, libc::SI_TKILL));
        // SAFETY: the signal goes to this process, which handles it; a system call's return delivers it at the latest
        // when its one unblocked thread is this one, else the other thread's handler counts.
        assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
        while seen().count < index * 2 + 2 {
            std::thread::yield_now();
        }
        assert_eq!((seen().signal, seen().code), (signal, libc::SI_USER));
    }
}

#[test]
fn l12_a_blocked_sigsegv_that_was_sent_stays_pending() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    signals::install(SIGSEGV, only_note, 0, &[]);
    signals::mask(SIG_BLOCK, &[SIGSEGV]);
    // SAFETY: the signal is blocked.
    assert_eq!(unsafe { libc::raise(SIGSEGV) }, 0);
    work(&map, &file, 1);
    if tracked_by_faults() {
        // L12: SIGSEGV is never really blocked, so one that is sent comes at once; and it does come.
        assert_eq!((seen().count, seen().code), (1, libc::SI_TKILL));
        return;
    }
    assert_eq!(seen().count, 0, "not delivered yet");
    let mut pending = signals::set_of(&[]);
    // SAFETY: fills a valid set, and reads it.
    assert_eq!(unsafe { (libc::sigpending(&mut pending), libc::sigismember(&pending, SIGSEGV)) }, (0, 1));
    signals::mask(SIG_UNBLOCK, &[SIGSEGV]);
    assert_eq!((seen().count, seen().code), (1, libc::SI_TKILL));
}

#[test]
fn l12_an_ignored_sigsegv_that_was_sent_does_nothing() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    signals::dispose(SIGSEGV, libc::SIG_IGN);
    // SAFETY: the signal is ignored.
    assert_eq!(unsafe { libc::raise(SIGSEGV) }, 0);
    work(&map, &file, 1);
}
