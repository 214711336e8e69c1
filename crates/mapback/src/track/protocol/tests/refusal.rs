//! When the kernel refuses to change a protection.

use super::*;

#[test]
fn nothing_is_tracked_when_arming_is_refused() {
    let machine = Machine::new(2);
    machine.kernel(Kernel::Refuses);
    assert_eq!(arm(&machine, 0..2, RW), Err(Errno::NOMEM));
    assert_eq!((machine.word(0), machine.word(1)), (0, 0));
    assert_eq!(write_fault(&machine, 0), Verdict::NotOurs);
}

#[test]
fn the_whole_stretch_is_opened_and_noted_when_one_page_cannot_be() {
    let machine = Machine::armed(8, RW);
    set_desired(&machine, 1..2, RWX).unwrap();
    assert!(machine.store(6));
    machine.kernel(Kernel::RefusesOnePage);
    machine.calls();
    assert!(machine.store(4));
    assert_eq!(machine.calls(), [(4..5, RW), (2..6, RW)], "up to another protection, and to an open page");
    machine.check();
    assert!(machine.store(2) && machine.store(5));
    assert_eq!(machine.calls(), [], "open already");
    assert_eq!(machine.collect(0..8), [2, 3, 4, 5, 6]);
    machine.check();
}

#[test]
fn a_stretch_ends_where_tracking_ends() {
    let machine = Machine::new(6);
    arm(&machine, 1..5, RW).unwrap();
    machine.kernel(Kernel::RefusesOnePage);
    machine.calls();
    assert!(machine.store(1));
    assert_eq!(machine.calls(), [(1..2, RW), (1..5, RW)]);
    assert_eq!(machine.collect(0..6), [1, 2, 3, 4]);

    let machine = Machine::armed(2, RW);
    machine.kernel(Kernel::RefusesOnePage);
    assert!(machine.store(0), "at the first and the last page there are");
    assert_eq!(machine.collect(0..2), [0, 1]);
    machine.check();
}

#[test]
fn a_stretch_is_not_opened_while_somebody_works_in_it() {
    for busy in [1, 3] {
        let machine = Machine::armed(4, RW);
        machine.kernel(Kernel::RefusesOnePage);
        let word = machine.states[busy].try_lock().unwrap();
        assert_eq!(write_fault(&machine, 2), Verdict::Retry);
        assert!((0..4).all(|page| machine.prot(page) == R), "page {busy} is busy");
        machine.states[busy].unlock(word);
        machine.check();
        assert!(machine.store(2));
        assert_eq!(machine.collect(0..4), [0, 1, 2, 3]);
    }
}

#[test]
fn a_fault_that_cannot_be_resolved_opens_nothing() {
    let machine = Machine::armed(3, RW);
    machine.kernel(Kernel::Refuses);
    assert!(!machine.store(1));
    assert_eq!(machine.prot(1), R);
    machine.check();
    machine.kernel(Kernel::Obeys);
    assert!(machine.store(1));
    assert!(machine.collect(0..3).contains(&1));
}

#[test]
fn a_stretch_that_was_opened_in_part_is_not_lost() {
    for opened in 0..4 {
        let machine = Machine::armed(4, RW);
        machine.kernel(Kernel::StopsAfter(opened));
        let _ = write_fault(&machine, 2);
        machine.check();
        let stored: Vec<usize> = (0..4).filter(|&page| machine.try_write(page)).collect();
        let reported = machine.collect(0..4);
        assert!(stored.iter().all(|page| reported.contains(page)), "{stored:?} in {reported:?}");
    }
}

#[test]
fn what_cannot_be_rearmed_stays_noted() {
    let machine = Machine::armed(2, RW);
    assert!(machine.store(0));
    machine.kernel(Kernel::Refuses);
    assert_eq!(machine.collect(0..2), [0]);
    assert!(machine.try_write(0), "still writable");
    assert_eq!(machine.collect(0..2), [0]);
    machine.check();
    machine.kernel(Kernel::Obeys);
    assert_eq!(machine.collect(0..2), [0]);
    assert_eq!(machine.collect(0..2), []);
    machine.check();
}

#[test]
fn one_stretch_is_rearmed_though_the_next_is_refused() {
    let machine = Machine::armed(2, RW);
    set_desired(&machine, 1..2, RWX).unwrap();
    assert!(machine.store(0) && machine.store(1));
    machine.kernel(Kernel::RefusesAfter(1));
    assert_eq!(machine.collect(0..2), [0, 1]);
    assert_eq!((machine.prot(0), machine.prot(1)), (R, RWX));
    machine.check();
    assert_eq!(machine.collect(0..2), [1]);
    machine.check();
}

#[test]
fn a_refused_change_of_protection_leaves_all_as_it_was() {
    let machine = Machine::armed(2, RW);
    assert!(machine.store(0));
    let before = (machine.word(0), machine.word(1));
    machine.kernel(Kernel::Refuses);
    assert_eq!(set_desired(&machine, 0..2, R), Err(Errno::NOMEM));
    assert_eq!((machine.word(0), machine.word(1)), before);
    assert!(machine.store(0));
    machine.check();
}

#[test]
fn a_map_that_cannot_be_closed_is_let_go_without_a_report() {
    let machine = Machine::armed(2, RW);
    assert!(machine.store(0));
    machine.kernel(Kernel::Refuses);
    let unreported = &mut |run| panic!("{run:?} is reported, and may still be stored to");
    assert_eq!(retire(&machine, 0..2, 0, unreported), Err(Errno::NOMEM));
    // The caller counts all as changed. What may be unmapped now must not be opened by a later fault.
    assert_eq!((machine.word(0), machine.word(1)), (0, 0));
    machine.kernel(Kernel::Obeys);
    assert_eq!(write_fault(&machine, 1), Verdict::NotOurs);
}

#[test]
fn a_page_that_cannot_be_opened_is_not_held() {
    let machine = Machine::armed(1, RW);
    machine.kernel(Kernel::Refuses);
    assert!(!hold(&machine, 0));
    assert_eq!(machine.word(0) & HOLDS, 0);
    machine.kernel(Kernel::Obeys);
    assert!(machine.store(0));
    machine.kernel(Kernel::Refuses);
    assert!(hold(&machine, 0), "open already");
    machine.check();
}

/// One refusal at every point of a long story, whole or in part.
#[test]
fn one_refusal_anywhere_loses_nothing() {
    let mut points = 0;
    for kernel in (0..40).map(Kernel::RefusesAfter) {
        let machine = Machine::armed(6, RW);
        let mut file = vec![0; 6];
        let sync = |file: &mut Vec<u8>| {
            for page in machine.collect(0..6) {
                file[page] = machine.hardware.borrow().content[page];
            }
        };
        machine.kernel(kernel);
        for page in [0, 1, 3, 4] {
            machine.store(page);
        }
        sync(&mut file);
        let _ = set_desired(&machine, 3..6, RWX);
        hold(&machine, 2);
        for page in [2, 3, 5] {
            machine.store(page);
        }
        sync(&mut file);
        release(&machine, 2);
        let _ = set_desired(&machine, 0..2, R);
        for page in 0..6 {
            machine.store(page);
        }
        machine.check();
        points += usize::from(machine.hardware.borrow().kernel == Kernel::Obeys);
        machine.kernel(Kernel::Obeys);
        sync(&mut file);
        assert_eq!(file, machine.hardware.borrow().content, "{kernel:?}");
    }
    assert!((10..40).contains(&points), "{points} points were reached, and not all of 40");
}
