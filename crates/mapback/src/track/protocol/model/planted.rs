//! Mistakes, each in a small copy of the function that avoids it; the model must find every one.

use super::*;

fn must_find(scenario: impl Fn() -> Arc<Machine> + Send + Sync + 'static) {
    explore(PREEMPTIONS, move || drop(scenario()));
}

/// Changes a word properly; the mistakes are in what is done before and after.
fn change(mem: &Machine, page: usize, with: impl Fn(u16) -> u16) {
    if let Some((state, word)) = lock(mem, page) {
        state.unlock(with(word));
    }
}

/// I2 reversed: the content is read before the page is made read-only.
fn copy_then_collect(mem: &Machine) -> Vec<Content> {
    let mut file = mem.file.lock().unwrap();
    let mut before = file.clone();
    mem.copy(0..mem.states.len(), &mut before);
    collect(mem, 0..mem.states.len(), &mut |run| file[run.clone()].copy_from_slice(&before[run]));
    file.clone()
}

#[test]
#[should_panic(expected = "lost:")]
fn loom_finds_copying_before_collecting() {
    must_find(|| stores_and_a_collector(write_fault, copy_then_collect));
}

/// Without the lock: a collector that comes in between takes the note away, and the page is opened unnoted.
fn note_then_open(mem: &Machine, page: usize) -> Verdict {
    change(mem, page, |word| word | CHANGED | WRITABLE);
    mem.protect(page..page + 1, RW).unwrap();
    Verdict::Retry
}

#[test]
#[should_panic(expected = "lost:")]
fn loom_finds_noting_before_opening() {
    must_find(|| stores_and_a_collector(note_then_open, Machine::sync));
}

/// Without the lock: somebody else's store goes through before the note, and a sync does not see it.
fn open_then_note(mem: &Machine, page: usize) -> Verdict {
    mem.protect(page..page + 1, RW).unwrap();
    change(mem, page, |word| word | CHANGED | WRITABLE);
    Verdict::Retry
}

#[test]
#[should_panic(expected = "msync:")]
fn loom_finds_opening_before_noting() {
    must_find(|| store_then_sync(open_then_note, collect));
}

/// Without the lock: a fault between the two steps is noted, and the note is cleared.
fn protect_then_clear(mem: &Machine, pages: Range<usize>, sink: Sink<'_>) {
    for page in pages {
        if word_of(mem, page) & CHANGED != 0 {
            mem.protect(page..page + 1, armed(RW as u16)).unwrap();
            sink(page..page + 1);
            change(mem, page, |word| word & !(CHANGED | WRITABLE));
        }
    }
}

#[test]
#[should_panic(expected = "lost:")]
fn loom_finds_clearing_after_protecting() {
    must_find(|| stores_and_a_collector(write_fault, |m| m.sync_with(protect_then_clear)));
}

/// Reports and forgets, and leaves the page writable.
fn collect_without_rearming(mem: &Machine, pages: Range<usize>, sink: Sink<'_>) {
    let run = lock_run(mem, &pages, |word| word & (CHANGED | LOCKED) != 0);
    unlock_run(mem, run, |page, word| {
        sink(page..page + 1);
        word & !(CHANGED | WRITABLE)
    });
}

#[test]
#[should_panic(expected = "lost:")]
fn loom_finds_a_missing_rearm() {
    must_find(|| stores_and_a_collector(write_fault, |m| m.sync_with(collect_without_rearming)));
}

/// Does not wait for a handler that is at work: what it opened may have been stored to.
fn collect_around_handlers(mem: &Machine, pages: Range<usize>, sink: Sink<'_>) {
    for page in pages {
        if word_of(mem, page) & CHANGED != 0 {
            collect(mem, page..page + 1, sink);
        }
    }
}

#[test]
#[should_panic(expected = "msync:")]
fn loom_finds_a_collector_that_does_not_wait_for_handlers() {
    must_find(|| store_then_sync(write_fault, collect_around_handlers));
}

/// Opens the neighbour too, and notes only the page that faulted.
fn widen_unnoted(mem: &Machine, page: usize) -> Verdict {
    let Some((state, word)) = lock(mem, page) else { return Verdict::NotOurs };
    mem.protect(0..mem.states.len(), RW).unwrap();
    state.unlock(word | CHANGED | WRITABLE);
    Verdict::Retry
}

#[test]
#[should_panic(expected = "lost:")]
fn loom_finds_widening_that_notes_one_page() {
    must_find(|| refused(0, 1, widen_unnoted));
}

/// Without the lock: a handler that read the old word opens the page again.
fn set_desired_unlocked(mem: &Machine, pages: Range<usize>, desired: i32) -> Result<(), Errno> {
    for page in pages {
        mem.protect(page..page + 1, armed(desired as u16))?;
        change(mem, page, |word| word & !(DESIRED | WRITABLE) | desired as u16);
    }
    Ok(())
}

#[test]
#[should_panic(expected = "forbidden:")]
fn loom_finds_an_unlocked_change_of_protection() {
    must_find(|| forbid(set_desired_unlocked));
}

/// Re-arms what the kernel is about to write to.
fn collect_what_is_held(mem: &Machine, pages: Range<usize>, sink: Sink<'_>) {
    let run = lock_run(mem, &pages, |word| word & (CHANGED | LOCKED) != 0);
    for page in run.clone() {
        mem.protect(page..page + 1, armed(RW as u16)).unwrap();
    }
    unlock_run(mem, run, |page, word| {
        sink(page..page + 1);
        word & !(CHANGED | WRITABLE)
    });
}

#[test]
#[should_panic(expected = "hold: EFAULT")]
fn loom_finds_a_collector_that_ignores_holds() {
    must_find(|| kernel_access(collect_what_is_held));
}

/// Reports first and makes inaccessible afterwards.
fn report_then_close(mem: &Machine, pages: Range<usize>, sink: Sink<'_>) -> Result<(), Errno> {
    collect(mem, pages.clone(), sink);
    retire(mem, pages, 0, &mut |_| ())
}

#[test]
#[should_panic(expected = "lost:")]
fn loom_finds_reporting_before_closing() {
    must_find(|| end_of_map(report_then_close));
}

/// Without the lock: a fault between the two steps is nobody's.
fn close_then_own(mem: &Machine, pages: Range<usize>, desired: i32) -> Result<(), Errno> {
    mem.protect(pages.clone(), armed(desired as u16))?;
    for page in pages {
        mem.state(page).unwrap().0.store(OURS | desired as u16, Ordering::Release);
    }
    Ok(())
}

#[test]
#[should_panic(expected = "crash:")]
fn loom_finds_closing_before_owning() {
    must_find(|| stores_beside_arming(close_then_own));
}
