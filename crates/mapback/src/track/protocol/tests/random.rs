//! Random sequences of operations against a naive oracle.

use super::*;
use proptest::prelude::*;

const PAGES: usize = 12;

#[derive(Clone, Debug)]
enum Op {
    Arm(Range<usize>, i32),
    Store(usize),
    Collect(Range<usize>),
    SetDesired(Range<usize>, i32),
    Retire(Range<usize>),
    Hold(usize),
    Release(usize),
    Kernel(Kernel),
}

fn ops(refusals: u32) -> impl Strategy<Value = Vec<Op>> {
    let page = 0..PAGES;
    let range = (0..PAGES, 1..=PAGES).prop_map(|(from, len)| from..(from + len).min(PAGES));
    let prot = prop_oneof![1 => Just(0), 1 => Just(R), 4 => Just(RW), 1 => Just(RWX)];
    let kernel = prop_oneof![
        Just(Kernel::Obeys),
        Just(Kernel::Refuses),
        Just(Kernel::RefusesOnePage),
        (0..3usize).prop_map(Kernel::RefusesAfter),
        (0..PAGES).prop_map(Kernel::StopsAfter),
    ];
    let op = prop_oneof![
        2 => (range.clone(), prot.clone()).prop_map(|(r, p)| Op::Arm(r, p)),
        8 => page.clone().prop_map(Op::Store),
        4 => range.clone().prop_map(Op::Collect),
        2 => (range.clone(), prot).prop_map(|(r, p)| Op::SetDesired(r, p)),
        1 => range.prop_map(Op::Retire),
        2 => page.clone().prop_map(Op::Hold),
        2 => page.prop_map(Op::Release),
        refusals => kernel.prop_map(Op::Kernel),
    ];
    prop::collection::vec(op, 1..60)
}

/// What an observer would say of a tracked page.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    desired: i32,
    changed: bool,
    open: bool,
    holds: u32,
}

impl Told {
    fn written(&mut self) -> bool {
        let allowed = self.desired & i32::from(WRITE) != 0;
        self.open |= allowed;
        self.changed |= allowed;
        allowed
    }
}

struct Oracle([Option<Told>; PAGES]);

impl Oracle {
    fn tracked(&mut self, pages: Range<usize>) -> impl Iterator<Item = (usize, &mut Told)> {
        let from = pages.start;
        self.0[pages].iter_mut().enumerate().filter_map(move |(n, t)| Some((from + n, t.as_mut()?)))
    }

    fn collect(&mut self, pages: Range<usize>) -> Vec<usize> {
        let mut changed = Vec::new();
        for (page, told) in self.tracked(pages) {
            if told.changed {
                changed.push(page);
            }
            told.open &= told.holds > 0;
            told.changed = told.open;
        }
        changed
    }

    fn retire(&mut self, pages: Range<usize>) -> Vec<usize> {
        let changed = self.tracked(pages.clone()).filter(|(_, t)| t.changed).map(|(page, _)| page).collect();
        self.0[pages].fill(None);
        changed
    }

    fn is_free(&self, pages: &Range<usize>) -> bool {
        self.0[pages.clone()].iter().all(Option::is_none)
    }
}

/// One step on both, which must agree. The kernel obeys.
fn step(machine: &Machine, oracle: &mut Oracle, op: Op) -> Result<(), TestCaseError> {
    match op {
        Op::Arm(pages, desired) if oracle.is_free(&pages) => {
            arm(machine, pages.clone(), desired).unwrap();
            oracle.0[pages].fill(Some(Told { desired, ..Told::default() }));
        }
        Op::Arm(..) | Op::Kernel(_) => {}
        Op::Store(page) => {
            if let Some(told) = &mut oracle.0[page] {
                prop_assert_eq!(machine.store(page), told.written());
            }
        }
        Op::Collect(pages) => prop_assert_eq!(machine.collect(pages.clone()), oracle.collect(pages)),
        Op::SetDesired(pages, desired) => {
            set_desired(machine, pages.clone(), desired).unwrap();
            oracle.tracked(pages).for_each(|(_, told)| (told.desired, told.open) = (desired, false));
        }
        Op::Retire(pages) => prop_assert_eq!(machine.retire(pages.clone()).unwrap(), oracle.retire(pages)),
        Op::Hold(page) => {
            let expected = oracle.0[page].as_mut().is_some_and(|told| {
                let held = told.written();
                told.holds += u32::from(held);
                held
            });
            prop_assert_eq!(hold(machine, page), expected);
        }
        Op::Release(page) => {
            release(machine, page);
            if let Some(told) = &mut oracle.0[page] {
                told.holds = told.holds.saturating_sub(1);
            }
        }
    }
    Ok(())
}

fn copy(machine: &Machine, file: &mut [u8], changed: &[usize]) {
    for &page in changed {
        file[page] = machine.hardware.borrow().content[page];
    }
}

/// One step on a machine whose kernel may refuse: what it reports goes to the file.
fn step_refused(machine: &Machine, file: &mut [u8], op: Op) {
    match op {
        Op::Arm(pages, desired) if pages.clone().all(|page| machine.word(page) & OURS == 0) => {
            let _ = arm(machine, pages, desired);
        }
        Op::Store(page) if machine.states[page].is_ours() => {
            machine.store(page);
        }
        Op::Collect(pages) => copy(machine, file, &machine.collect(pages)),
        Op::SetDesired(pages, desired) => {
            let _ = set_desired(machine, pages, desired);
        }
        Op::Retire(pages) => {
            let mut changed = Vec::new();
            let done = retire(machine, pages.clone(), 0, &mut |run| changed.extend(run));
            let all: Vec<usize> = pages.collect();
            copy(machine, file, if done.is_ok() { &changed } else { &all });
        }
        Op::Hold(page) => {
            hold(machine, page);
        }
        Op::Release(page) => release(machine, page),
        Op::Kernel(kernel) => machine.kernel(kernel),
        Op::Arm(..) | Op::Store(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn reports_are_what_the_oracle_says(ops in ops(0)) {
        let machine = Machine::new(PAGES);
        let mut oracle = Oracle([None; PAGES]);
        for op in ops {
            step(&machine, &mut oracle, op)?;
            machine.check();
        }
        prop_assert_eq!(machine.collect(0..PAGES), oracle.collect(0..PAGES));
        prop_assert_eq!(machine.hardware.borrow().waits, 0);
    }

    #[test]
    fn nothing_is_lost_when_the_kernel_refuses(ops in ops(4)) {
        let machine = Machine::new(PAGES);
        let mut file = vec![0; PAGES];
        for op in ops {
            step_refused(&machine, &mut file, op);
            machine.check();
        }
        machine.kernel(Kernel::Obeys);
        copy(&machine, &mut file, &machine.collect(0..PAGES));
        prop_assert_eq!(&file, &machine.hardware.borrow().content);
    }
}
