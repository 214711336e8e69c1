//! The protocol in one thread, on a machine that is a few arrays and a kernel that can refuse.

use super::*;
use std::cell::RefCell;
use std::vec::Vec;

mod random;
mod refusal;

const R: i32 = 1;
const RW: i32 = 3;
const RWX: i32 = 7;

/// What the kernel does with the next changes of protection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kernel {
    Obeys,
    /// Refuses them all.
    Refuses,
    /// Refuses to make a single page writable: the map would have to be split.
    RefusesOnePage,
    /// Does as it is told so many times, refuses once, and obeys again.
    RefusesAfter(usize),
    /// Refuses to make a single page writable; changes so many pages of the next longer range, refuses the rest,
    /// and obeys again. (`mprotect` over several of the kernel's maps stops at the first that it cannot change.)
    StopsAfter(usize),
}

struct Hardware {
    kernel: Kernel,
    prots: Vec<i32>,
    content: Vec<u8>,
    /// Every change of protection that was asked for.
    calls: Vec<(Range<usize>, i32)>,
    waits: usize,
}

struct Machine {
    states: Vec<PageState>,
    hardware: RefCell<Hardware>,
}

impl Memory for Machine {
    fn state(&self, page: usize) -> Option<&PageState> {
        self.states.get(page)
    }

    fn protect(&self, pages: Range<usize>, prot: i32) -> Result<(), Errno> {
        let mut hardware = self.hardware.borrow_mut();
        hardware.calls.push((pages.clone(), prot));
        let done = match hardware.kernel {
            Kernel::Obeys => pages.len(),
            Kernel::Refuses => 0,
            Kernel::RefusesOnePage | Kernel::StopsAfter(_) if pages.len() == 1 => {
                usize::from(prot & i32::from(WRITE) == 0)
            }
            Kernel::RefusesOnePage => pages.len(),
            Kernel::RefusesAfter(0) => {
                hardware.kernel = Kernel::Obeys;
                0
            }
            Kernel::RefusesAfter(n) => {
                hardware.kernel = Kernel::RefusesAfter(n - 1);
                pages.len()
            }
            Kernel::StopsAfter(n) => {
                hardware.kernel = Kernel::Obeys;
                n.min(pages.len())
            }
        };
        hardware.prots[pages.start..pages.start + done].fill(prot);
        if done == pages.len() { Ok(()) } else { Err(Errno::NOMEM) }
    }

    fn relax(&self) {
        let mut hardware = self.hardware.borrow_mut();
        hardware.waits += 1;
        assert!(hardware.waits < 9, "waits for a lock that nobody holds");
    }
}

impl Machine {
    /// Pages that are not tracked yet.
    fn new(pages: usize) -> Machine {
        let hardware = Hardware {
            kernel: Kernel::Obeys,
            prots: vec![RW; pages],
            content: vec![0; pages],
            calls: Vec::new(),
            waits: 0,
        };
        Machine { states: (0..pages).map(|_| PageState::new()).collect(), hardware: RefCell::new(hardware) }
    }

    fn armed(pages: usize, desired: i32) -> Machine {
        let machine = Machine::new(pages);
        arm(&machine, 0..pages, desired).unwrap();
        machine.hardware.borrow_mut().calls.clear();
        machine
    }

    fn kernel(&self, kernel: Kernel) {
        self.hardware.borrow_mut().kernel = kernel;
    }

    fn prot(&self, page: usize) -> i32 {
        self.hardware.borrow().prots[page]
    }

    fn word(&self, page: usize) -> u16 {
        self.states[page].0.load(Ordering::Acquire)
    }

    fn calls(&self) -> Vec<(Range<usize>, i32)> {
        core::mem::take(&mut self.hardware.borrow_mut().calls)
    }

    /// Writes if the processor lets it.
    fn try_write(&self, page: usize) -> bool {
        let mut hardware = self.hardware.borrow_mut();
        let open = hardware.prots[page] & i32::from(WRITE) != 0;
        hardware.content[page] = hardware.content[page].wrapping_add(u8::from(open));
        open
    }

    /// A store instruction. `false`: it ended in SIGSEGV.
    fn store(&self, page: usize) -> bool {
        while !self.try_write(page) {
            if write_fault(self, page) == Verdict::NotOurs {
                return false;
            }
        }
        true
    }

    fn collect(&self, pages: Range<usize>) -> Vec<usize> {
        let mut changed = Vec::new();
        collect(self, pages, &mut |run| changed.extend(run));
        changed
    }

    fn retire(&self, pages: Range<usize>) -> Result<Vec<usize>, Errno> {
        let mut changed = Vec::new();
        retire(self, pages, 0, &mut |run| changed.extend(run)).map(|()| changed)
    }

    /// Fails unless every word tells the truth and no lock was left behind.
    fn check(&self) {
        for page in 0..self.states.len() {
            let word = self.word(page);
            let shown = format!("page {page}, word {word:#06x}, actual protection {}", self.prot(page));
            assert_eq!(word & LOCKED, 0, "still locked: {shown}");
            if word & OURS != 0 {
                let open = self.prot(page) & i32::from(WRITE) != 0;
                assert!(word & WRITABLE != 0 || !open, "a store would not be noted: {shown}");
                assert!(word & WRITABLE == 0 || word & CHANGED != 0, "writable and not noted: {shown}");
            }
        }
    }
}

#[test]
fn armed_pages_refuse_stores_and_nothing_else() {
    for (desired, actual) in [(0, 0), (R, R), (RW, R), (2, R), (4, 4), (6, 5), (RWX, 5)] {
        let machine = Machine::armed(2, desired);
        assert_eq!(machine.prot(1), actual, "desired {desired}");
        assert!(machine.states[1].is_ours());
        assert_eq!(machine.collect(0..2), [], "desired {desired}");
        machine.check();
    }
}

#[test]
fn a_fault_opens_its_page_and_notes_it() {
    let machine = Machine::armed(3, RWX);
    assert!(machine.store(1));
    assert_eq!(machine.calls(), [(1..2, RWX)]);
    assert!(machine.store(1));
    assert_eq!(machine.calls(), [], "the second store does not fault");
    assert_eq!(machine.collect(0..3), [1]);
    machine.check();
}

#[test]
fn faults_of_others_are_not_ours() {
    let machine = Machine::new(3);
    arm(&machine, 1..2, R).unwrap();
    for page in [0, 1, 2, 3, usize::MAX] {
        assert_eq!(write_fault(&machine, page), Verdict::NotOurs, "page {page}");
    }
    assert_eq!(machine.collect(0..3), []);
    machine.check();
}

#[test]
fn a_handler_does_not_wait() {
    let machine = Machine::armed(1, RW);
    let word = machine.states[0].try_lock().unwrap();
    assert_eq!(write_fault(&machine, 0), Verdict::Retry);
    assert_eq!(machine.word(0), word | LOCKED);
    assert_eq!((machine.hardware.borrow().waits, machine.prot(0)), (1, R));
}

#[test]
fn a_report_is_given_once_and_rearms() {
    let machine = Machine::armed(6, RW);
    for page in [1, 2, 5] {
        assert!(machine.store(page));
    }
    machine.calls();
    assert_eq!(machine.collect(0..3), [1, 2], "outside of the range nothing is reported");
    assert_eq!(machine.calls(), [(1..3, R)], "neighbours are protected together");
    assert_eq!(machine.collect(0..6), [5]);
    assert_eq!(machine.collect(0..6), []);
    assert!(machine.store(2));
    assert_eq!(machine.collect(0..6), [2]);
    machine.check();
}

#[test]
fn pages_are_protected_before_they_are_reported() {
    let machine = Machine::armed(2, RW);
    assert!(machine.store(0) && machine.store(1));
    let mut seen = 0;
    collect(&machine, 0..2, &mut |run| {
        assert_eq!((machine.prot(0), machine.prot(1)), (R, R), "{run:?}");
        seen += run.len();
    });
    assert_eq!(seen, 2);
}

#[test]
fn each_page_is_rearmed_with_its_own_protection() {
    let machine = Machine::armed(4, RW);
    set_desired(&machine, 2..4, RWX).unwrap();
    assert!((0..4).all(|page| machine.store(page)));
    machine.calls();
    assert_eq!(machine.collect(0..4), [0, 1, 2, 3]);
    assert_eq!(machine.calls(), [(0..2, R), (2..4, 5)]);
    assert!(machine.store(3));
    assert_eq!(machine.prot(3), RWX);
    machine.check();
}

#[test]
fn long_ranges_are_done_in_batches() {
    let pages = 2 * BATCH + 3;
    let every = 0..pages;
    let batches = |prot| [(0..BATCH, prot), (BATCH..2 * BATCH, prot), (2 * BATCH..pages, prot)];
    let machine = Machine::armed(pages, RW);
    assert!(every.clone().all(|page| machine.store(page)));
    machine.calls();
    assert_eq!(machine.collect(every.clone()), every.clone().collect::<Vec<_>>());
    assert_eq!(machine.calls(), batches(R));
    machine.check();

    assert!(machine.store(BATCH - 1) && machine.store(BATCH));
    machine.calls();
    set_desired(&machine, every.clone(), 0).unwrap();
    assert_eq!(machine.calls(), batches(0));
    assert_eq!(machine.retire(every).unwrap(), [BATCH - 1, BATCH]);
    assert_eq!(machine.calls(), batches(0));
    machine.check();
}

#[test]
fn what_is_not_tracked_is_left_alone() {
    let machine = Machine::new(5);
    arm(&machine, 0..2, RW).unwrap();
    arm(&machine, 3..4, RW).unwrap();
    assert!((0..5).all(|page| machine.store(page)));
    assert_eq!(machine.collect(0..9), [0, 1, 3]);
    set_desired(&machine, 0..9, R).unwrap();
    assert_eq!((machine.prot(2), machine.prot(4)), (RW, RW));
    assert!(machine.retire(0..9).unwrap().is_empty());
    assert_eq!((machine.prot(2), machine.prot(4)), (RW, RW));
}

#[test]
fn a_change_of_protection_forgets_no_store() {
    let machine = Machine::armed(2, RW);
    assert!(machine.store(0));
    set_desired(&machine, 0..2, R).unwrap();
    assert!(!machine.store(0) && !machine.store(1));
    set_desired(&machine, 0..2, RW).unwrap();
    assert_eq!((machine.prot(0), machine.prot(1)), (R, R), "allowed to write is not open");
    assert_eq!(machine.collect(0..2), [0]);
    assert!(machine.store(1));
    assert_eq!(machine.collect(0..2), [1]);
    machine.check();
}

#[test]
fn a_forbidden_page_is_reported_once_too() {
    let machine = Machine::armed(1, RW);
    assert!(machine.store(0));
    set_desired(&machine, 0..1, 0).unwrap();
    assert_eq!(machine.collect(0..1), [0]);
    assert_eq!(machine.prot(0), 0, "collecting does not open what the program closed");
    assert_eq!(machine.collect(0..1), []);
    machine.check();
}

#[test]
fn retired_pages_are_reported_and_forgotten() {
    let machine = Machine::armed(3, RW);
    assert!(machine.store(0) && machine.store(2));
    let mut changed = Vec::new();
    let sink = &mut |run: Range<usize>| {
        assert_eq!(machine.prot(run.start), 0, "no store may come after the report");
        changed.extend(run);
    };
    retire(&machine, 0..3, 0, sink).unwrap();
    assert_eq!(changed, [0, 2]);
    assert!((0..3).all(|page| !machine.store(page) && machine.word(page) == 0));
    assert_eq!(machine.collect(0..3), []);
    arm(&machine, 0..3, RW).unwrap();
    assert_eq!(machine.collect(0..3), []);
}

#[test]
fn a_held_page_stays_open_and_noted() {
    let machine = Machine::armed(2, RW);
    assert!(hold(&machine, 0) && hold(&machine, 0));
    assert!(machine.try_write(0), "the kernel gets no EFAULT");
    assert!(machine.store(1));
    assert_eq!(machine.collect(0..2), [0, 1]);
    assert_eq!((machine.prot(0), machine.prot(1)), (RW, R));
    release(&machine, 0);
    assert_eq!(machine.collect(0..2), [0], "one holder is left");
    release(&machine, 0);
    assert_eq!(machine.collect(0..2), [0], "the last holder may have written since");
    assert_eq!(machine.prot(0), R);
    assert_eq!(machine.collect(0..2), []);
    machine.check();
}

#[test]
fn only_what_may_be_written_is_held() {
    let machine = Machine::new(2);
    arm(&machine, 0..1, R).unwrap();
    assert!(!hold(&machine, 0) && !hold(&machine, 1) && !hold(&machine, 2));
    assert_eq!(machine.prot(0), R);
    for page in 0..3 {
        release(&machine, page);
    }
    assert_eq!((machine.word(0), machine.word(1)), (OURS | R as u16, 0));
}

#[test]
fn holds_do_not_overflow() {
    let machine = Machine::armed(1, RW);
    assert!((0..255).all(|_| hold(&machine, 0)));
    let full = machine.word(0);
    assert_eq!(full & HOLDS, HOLDS);
    assert!(!hold(&machine, 0));
    assert_eq!(machine.word(0), full);
    (0..255).for_each(|_| release(&machine, 0));
    assert_eq!(machine.word(0), full & !HOLDS);
    release(&machine, 0);
    assert_eq!(machine.word(0), full & !HOLDS, "a release too many changes nothing");
    assert_eq!(machine.collect(0..1), [0]);
    machine.check();
}

#[test]
fn a_fork_voids_locks_and_holds() {
    let machine = Machine::armed(3, RW);
    assert!(machine.store(0) && hold(&machine, 1));
    machine.states[1].try_lock().unwrap();
    machine.states[2].try_lock().unwrap();
    reset(&machine, 0..9);
    machine.check();
    assert!((0..3).all(|page| machine.word(page) & HOLDS == 0));
    assert_eq!(machine.collect(0..3), [0, 1], "what was noted stays");
    assert!(machine.store(2));
    assert_eq!(machine.collect(0..3), [2]);
    machine.check();
}
