//! The protocol under the model checker: every interleaving of stores, faults, collectors and kernel accesses
//! (up to [`PREEMPTIONS`]) on a machine whose pages are a protection and a content.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p mapback --lib loom --release`.
//!
//! [`planted`] has the mistakes that this protocol avoids. The model must find each of them: that is what shows
//! that it would find them in the real functions.

use super::*;
use loom::sync::{Arc, Mutex};
use loom::thread;

mod planted;

/// Forced thread switches in one execution.
const PREEMPTIONS: usize = 3;
/// Waits for a page's lock in one execution, after which no more alternatives are tried.
const WAITS: usize = 3;
const RW: i32 = 3;

/// One byte for each thread, so that each can tell its own stores. Each store adds one.
type Content = [u8; 3];

struct Hardware {
    prot: i32,
    content: Content,
    /// How often the kernel still refuses to make this page alone writable.
    refusals: u8,
}

struct Machine {
    states: Vec<PageState>,
    /// Stored to before each use of a state, and never read. Loom reorders two accesses when they conflict with
    /// the *last* one of their variable; a thread that loads a word and then exchanges it hides from loom that
    /// its exchange conflicts with another thread's earlier load. These stores conflict, and hide nothing.
    turns: Vec<AtomicU16>,
    hardware: Vec<Mutex<Hardware>>,
    /// The file's pages. Its lock is the owner's, under which collectors run.
    file: Mutex<Vec<Content>>,
    /// One change of protection at a time. The number is how many stretches of one protection there may be
    /// (`max_map_count`).
    kernel: Mutex<usize>,
    /// How often somebody had to wait for a lock.
    waits: std::sync::atomic::AtomicUsize,
}

type Handler = fn(&Machine, usize) -> Verdict;
type Sink<'s> = &'s mut dyn FnMut(Range<usize>);
type Collector = fn(&Machine, Range<usize>, Sink<'_>);
type Retire = fn(&Machine, Range<usize>, Sink<'_>) -> Result<(), Errno>;

impl Memory for Machine {
    fn state(&self, page: usize) -> Option<&PageState> {
        self.turns.get(page)?.store(0, Ordering::Relaxed);
        self.states.get(page)
    }

    fn protect(&self, pages: Range<usize>, prot: i32) -> Result<(), Errno> {
        let most = self.kernel.lock().unwrap();
        if *most < self.states.len() && self.stretches(&pages, prot) > *most {
            return Err(Errno::NOMEM);
        }
        let alone = pages.len() == 1;
        // One page after the other: a real mprotect is not one step either.
        for page in pages {
            let mut hardware = self.hardware[page].lock().unwrap();
            if alone && prot & RW == RW && hardware.refusals > 0 {
                hardware.refusals -= 1;
                return Err(Errno::NOMEM);
            }
            hardware.prot = prot;
        }
        Ok(())
    }

    fn relax(&self) {
        // An unfair scheduler can let two threads wait for a third for ever: such executions end early.
        if self.waits.fetch_add(1, Ordering::Relaxed) >= WAITS {
            loom::skip_branch();
        }
        thread::yield_now();
    }
}

impl Machine {
    fn new(pages: usize, refusals: u8, most: usize) -> Arc<Machine> {
        let machine = Machine::untracked(pages, refusals, most);
        arm(&machine, 0..pages, RW).unwrap();
        Arc::new(machine)
    }

    fn untracked(pages: usize, refusals: u8, most: usize) -> Machine {
        let hardware = |_| Mutex::new(Hardware { prot: RW, content: Content::default(), refusals });
        Machine {
            turns: (0..pages).map(|_| AtomicU16::new(0)).collect(),
            states: (0..pages).map(|_| PageState::new()).collect(),
            hardware: (0..pages).map(hardware).collect(),
            file: Mutex::new(vec![Content::default(); pages]),
            kernel: Mutex::new(most),
            waits: Default::default(),
        }
    }

    /// `pages` pages, and a kernel that never refuses.
    fn plain(pages: usize) -> Arc<Machine> {
        Machine::new(pages, 0, pages)
    }

    /// How many stretches there would be after a change.
    fn stretches(&self, pages: &Range<usize>, prot: i32) -> usize {
        let mut prots: Vec<i32> = self.hardware.iter().map(|h| h.lock().unwrap().prot).collect();
        prots[pages.clone()].fill(prot);
        prots.dedup();
        prots.len()
    }

    /// Writes if the processor lets it: permission and write are one step.
    fn try_write(&self, page: usize, who: usize) -> bool {
        let mut hardware = self.hardware[page].lock().unwrap();
        let open = hardware.prot & i32::from(WRITE) != 0;
        hardware.content[who] += u8::from(open);
        open
    }

    /// A store instruction. `false`: it ended in SIGSEGV. (An endless retry exceeds loom's `max_branches`.)
    fn store_with(&self, page: usize, who: usize, handler: Handler) -> bool {
        while !self.try_write(page, who) {
            if handler(self, page) == Verdict::NotOurs {
                return false;
            }
        }
        true
    }

    fn store(&self, page: usize, who: usize) -> bool {
        self.store_with(page, who, write_fault)
    }

    /// A system call that stores: a protected page is `EFAULT`, not a fault.
    fn kernel_store(&self, page: usize, who: usize) {
        assert!(hold(self, page), "hold: nothing was in the way");
        assert!(self.try_write(page, who), "hold: EFAULT");
        release(self, page);
    }

    /// `msync`: collects, then copies. Returns the file as it is then.
    fn sync_with(&self, collector: Collector) -> Vec<Content> {
        let mut file = self.file.lock().unwrap();
        let mut changed = Vec::new();
        collector(self, 0..self.states.len(), &mut |run| changed.extend(run));
        self.copy(changed, &mut file);
        file.clone()
    }

    fn sync(&self) -> Vec<Content> {
        self.sync_with(collect)
    }

    fn copy(&self, pages: impl IntoIterator<Item = usize>, file: &mut [Content]) {
        for page in pages {
            file[page] = self.hardware[page].lock().unwrap().content;
        }
    }

    /// When all threads are done: what a word without `LOCKED` promises.
    fn check_words(&self) {
        for (page, state) in self.states.iter().enumerate() {
            let word = state.0.load(Ordering::Acquire);
            let prot = self.hardware[page].lock().unwrap().prot;
            assert_eq!(word & LOCKED, 0, "truth: page {page} is still locked");
            assert!(word & WRITABLE == 0 || word & CHANGED != 0, "truth: page {page} writable, not noted");
            assert!(word & WRITABLE != 0 || prot & i32::from(WRITE) == 0, "truth: page {page} is open");
        }
    }

    /// When all threads are done: after one more collection nothing may be missing from the file.
    fn check_file(&self) {
        let file = self.sync();
        for (page, hardware) in self.hardware.iter().enumerate() {
            let memory = hardware.lock().unwrap().content;
            assert_eq!(file[page], memory, "lost: page {page}, file and memory differ");
        }
    }
}

/// Runs `body` in every interleaving.
fn explore(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(body);
}

fn spawn(machine: &Arc<Machine>, body: impl FnOnce(&Machine) + 'static) -> thread::JoinHandle<()> {
    let machine = machine.clone();
    thread::spawn(move || body(&machine))
}

/// `mmap` with `MAP_FIXED` over memory that another thread stores to: its pages are armed under its hands.
fn stores_beside_arming(arm: fn(&Machine, Range<usize>, i32) -> Result<(), Errno>) -> Arc<Machine> {
    let machine = Arc::new(Machine::untracked(2, 0, 2));
    let storing = spawn(&machine, |m| {
        assert!(m.store(0, 1) && m.store(1, 1) && m.store(0, 1), "crash: nobody owns the fault");
    });
    arm(&machine, 0..2, RW).unwrap();
    // What was stored before is in no state: such pages count as changed.
    machine.copy(0..2, &mut machine.file.lock().unwrap());
    storing.join().unwrap();
    machine.check_file();
    machine
}

/// Two threads store to one page, twice each, while it is collected.
fn stores_and_a_collector(handler: Handler, sync: fn(&Machine) -> Vec<Content>) -> Arc<Machine> {
    let machine = Machine::plain(1);
    let one = spawn(&machine, move |m| assert!(m.store_with(0, 1, handler) && m.store_with(0, 1, handler)));
    let two = spawn(&machine, move |m| assert!(m.store_with(0, 2, handler)));
    sync(&machine);
    one.join().unwrap();
    two.join().unwrap();
    machine.check_file();
    machine
}

/// One thread faults; the other stores, perhaps without a fault on what is writable by then, and syncs: its store
/// must be in the file when the sync is done.
fn store_then_sync(handler: Handler, collector: Collector) -> Arc<Machine> {
    let machine = Machine::plain(1);
    let one = spawn(&machine, move |m| assert!(m.store_with(0, 1, handler)));
    assert!(machine.store_with(0, 0, handler));
    let file = machine.sync_with(collector);
    one.join().unwrap();
    assert_eq!(file[0][0], 1, "msync: a store from before is not in the file");
    machine.check_file();
    machine
}

/// The page that faults cannot be made writable alone: its neighbour becomes writable with it.
fn refused(refusals: u8, most: usize, handler: Handler) -> Arc<Machine> {
    let machine = Machine::new(2, refusals, most);
    let one = spawn(&machine, move |m| assert!(m.store_with(0, 1, handler)));
    machine.sync();
    assert!(machine.store_with(1, 0, handler));
    one.join().unwrap();
    machine.check_file();
    machine
}

/// The program forbids writing while another thread stores.
fn forbid(set_desired: fn(&Machine, Range<usize>, i32) -> Result<(), Errno>) -> Arc<Machine> {
    let machine = Machine::plain(1);
    let one = spawn(&machine, |m| {
        m.store(0, 1);
    });
    set_desired(&machine, 0..1, i32::from(READ)).unwrap();
    let through = machine.store(0, 0);
    one.join().unwrap();
    let through_later = machine.store(0, 0);
    assert!(!through && !through_later, "forbidden: a store went through");
    machine.check_file();
    machine
}

/// A system call writes into a page that is stored to and collected.
fn kernel_access(collector: Collector) -> Arc<Machine> {
    let machine = Machine::plain(1);
    let one = spawn(&machine, |m| m.kernel_store(0, 1));
    let two = spawn(&machine, |m| assert!(m.store(0, 2)));
    machine.sync_with(collector);
    one.join().unwrap();
    two.join().unwrap();
    machine.check_file();
    machine
}

/// The map ends while another thread stores.
fn end_of_map(retire: Retire) -> Arc<Machine> {
    let machine = Machine::plain(1);
    let one = spawn(&machine, |m| {
        let _ = m.store(0, 1) && m.store(0, 1);
    });
    let mut changed = Vec::new();
    retire(&machine, 0..1, &mut |run| changed.extend(run)).unwrap();
    let mut file = vec![Content::default()];
    machine.copy(changed, &mut file);
    one.join().unwrap();
    assert!(!machine.store(0, 0), "retired: a store went through");
    let memory = machine.hardware[0].lock().unwrap().content;
    assert_eq!(file[0], memory, "lost: file and memory differ");
    machine
}

#[test]
fn loom_stores_against_a_collector_lose_nothing() {
    explore(PREEMPTIONS, || stores_and_a_collector(write_fault, Machine::sync).check_words());
}

#[test]
fn loom_a_store_before_a_sync_is_in_the_file_after_it() {
    explore(PREEMPTIONS, || store_then_sync(write_fault, collect).check_words());
}

#[test]
fn loom_pages_collected_together_lose_nothing() {
    explore(PREEMPTIONS, || refused(0, 2, write_fault).check_words());
}

#[test]
fn loom_widening_once_loses_nothing() {
    explore(PREEMPTIONS, || refused(1, 2, write_fault).check_words());
}

#[test]
fn loom_a_kernel_that_never_splits_loses_nothing() {
    explore(PREEMPTIONS, || refused(0, 1, write_fault).check_words());
}

#[test]
fn loom_what_the_program_forbids_stays_forbidden() {
    explore(PREEMPTIONS, || forbid(set_desired).check_words());
}

#[test]
fn loom_a_held_page_stays_writable() {
    explore(PREEMPTIONS, || kernel_access(collect).check_words());
}

#[test]
fn loom_the_end_of_a_map_loses_nothing() {
    explore(PREEMPTIONS, || end_of_map(|mem, pages, sink| retire(mem, pages, 0, sink)).check_words());
}

#[test]
fn loom_stores_beside_arming_wait_and_lose_nothing() {
    explore(PREEMPTIONS, || {
        stores_beside_arming(|mem, pages, desired| arm(mem, pages, desired)).check_words()
    });
}
