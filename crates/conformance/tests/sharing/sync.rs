//! P22, L3 between processes: what one flushes that another has changed, and what stays marked.

use mapback_conformance::actor::{Ask, End, FlushBy};
use mapback_conformance::{page, scene};

#[test]
fn p22_msync_writes_what_another_process_has_stored() {
    let scene = scene!();
    let file = scene.file(8 * page());
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, 8 * page()), two.map(&file, 8 * page()));
    for round in 1..4 {
        for at in [0, 3, 7] {
            b.set(at * page(), round);
        }
        a.sync();
        assert_eq!([0, 3, 7].map(|at| file.stored_byte(at * page())), [round; 3], "round {round}");
    }
}

#[test]
fn p22_a_page_that_another_process_goes_on_storing_to_stays_marked() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, 2 * page()), two.map(&file, 2 * page()));
    for round in 1..20 {
        // `b` never flushes: its page may well be writable all the time, and must not count as clean.
        b.set(page() + 1, round);
        if round % 3 == 0 {
            b.set(page() + 2, round);
        }
        a.sync();
        assert_eq!(file.stored_byte(page() + 1), round, "flushed by the other, round {round}");
        if round % 4 == 0 {
            a.set(page() + 3, round);
            b.sync();
            assert_eq!(file.stored_byte(page() + 3), round, "the other way, round {round}");
        }
    }
    b.set(page() + 1, 99);
    two.end(End::UnderscoreExit);
    assert_eq!(file.stored_byte(page() + 1), 99, "at its end");
}

#[test]
fn p22_what_a_killed_process_stored_after_anothers_flush_is_written_by_the_next() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, 2 * page()), two.map(&file, 2 * page()));
    b.set(0, 1);
    a.sync();
    b.set(0, 2);
    b.set(page(), 3);
    two.kill_with_keeper();
    a.sync();
    assert_eq!((file.stored_byte(0), file.stored_byte(page())), (2, 3));
}

#[test]
fn p22_a_part_that_one_flushes_leaves_the_rest_marked() {
    let scene = scene!();
    let file = scene.file(4 * page());
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, 4 * page()), two.map(&file, 4 * page()));
    for at in 0..4 {
        b.set(at * page(), 9);
    }
    one.call(&Ask::Sync { addr: a.at(page()), len: page(), flags: libc::MS_SYNC });
    assert_eq!(file.stored_byte(page()), 9);
    two.kill();
    assert_eq!(
        [0, 1, 2, 3].map(|at| file.stored_byte(at * page())),
        [9; 4],
        "`mapback run` has written the rest"
    );
}

#[test]
fn p22_a_map_that_only_reads_flushes_what_others_have_stored() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (one, two) = (scene.actor(), scene.actor());
    let b = two.map(&file, 2 * page());
    let fd = one.open(&file, libc::O_RDONLY);
    let (prot, flags) = (libc::PROT_READ, libc::MAP_SHARED);
    let answer = one.ask(&Ask::Map { fd, len: 2 * page(), prot, flags, off: 0 });
    let mapback_conformance::actor::Answer::Mapped(addr, _) = answer else { panic!("no map: {answer:?}") };
    b.set(page(), 9);
    one.call(&Ask::Sync { addr, len: 2 * page(), flags: libc::MS_SYNC });
    assert_eq!(file.stored_byte(page()), 9);
}

#[test]
fn l03_each_way_of_flushing_writes_what_another_process_has_stored() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (mapper, flusher) = (scene.actor(), scene.actor());
    let map = mapper.map(&file, 2 * page());
    // Those of a whole file system need a descriptor or nothing at all; the flusher has never mapped the file.
    let ways = [FlushBy::Fsync, FlushBy::Fdatasync, FlushBy::SyncFileRange, FlushBy::Syncfs, FlushBy::Sync];
    for (round, by) in (1..).zip(ways) {
        map.set(page(), round);
        flusher.call(&Ask::Flush { by, path: file.path().to_owned() });
        assert_eq!(file.stored_byte(page()), round, "{by:?}");
    }
}

#[test]
fn p13_what_no_process_stored_is_not_written() {
    let mut scene = scene!();
    if scene.tracked_as_whole() || scene.tracker.as_deref() == Some("compare") {
        // P24 in docs/semantics.md: to `whole` every page is the program's own change, and so it is to `compare` as soon
        // as two processes share an image, since neither knows what the other has written back.
        scene.tracker = None;
    }
    let file = scene.file(4 * page());
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, 4 * page()), two.map(&file, 4 * page()));
    a.set(0, 1);
    b.set(page(), 2);
    // A change by nobody that mapback knows: where nothing was stored it has to stay.
    assert_eq!(mapback_conformance::calls::kernel::pwrite(file.fd(), &[77], 3 * page() as i64), Ok(1));
    a.sync();
    b.sync();
    one.end(End::Exit);
    two.end(End::Exit);
    assert_eq!([0, 1, 3].map(|at| file.stored_byte(at * page())), [1, 2, 77]);
}
