//! L1, L14: memory that is the same in all processes.

use mapback_conformance::actor::{Answer, Ask, End};
use mapback_conformance::scene::fill;
use mapback_conformance::{page, scene};

#[test]
fn l01_stores_are_seen_at_once_in_processes_started_separately() {
    let scene = scene!();
    let len = 4 * page() + 100;
    let file = scene.file(len);
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, len), two.map(&file, len));
    for round in 1..4 {
        for off in [0, page() - 1, 2 * page(), len - 1] {
            a.set(off, round);
            assert_eq!(b.get(off), round, "round {round}, byte {off}");
            b.set(off, round + 100);
            assert_eq!(a.get(off), round + 100, "round {round}, byte {off}, the other way");
        }
    }
    let three = scene.actor();
    let c = three.map(&file, len);
    assert_eq!((c.get(0), c.get(1)), (103, fill(1)), "one that comes later");
    c.set(1, 1);
    assert_eq!((a.get(1), b.get(1)), (1, 1));
}

#[test]
fn l01_a_process_that_comes_sees_what_one_that_has_gone_had_stored() {
    let scene = scene!();
    let file = scene.file(2 * page());
    for round in 1..5u8 {
        let actor = scene.actor();
        let map = actor.map(&file, 2 * page());
        if round > 1 {
            assert_eq!(map.get(page()), round - 1);
        }
        map.set(page(), round);
        actor.end(if round.is_multiple_of(2) { End::Exit } else { End::UnderscoreExit });
    }
    assert_eq!(file.stored_byte(page()), 4);
}

#[test]
fn l01_hard_links_and_other_names_are_one_file_and_copies_are_not() {
    let scene = scene!();
    let file = scene.file(page());
    let (link, copy) = (scene.dir().join("link"), scene.dir().join("copy"));
    std::fs::hard_link(file.path(), &link).expect("a hard link");
    std::fs::copy(file.path(), &copy).expect("a copy");
    let (one, two) = (scene.actor(), scene.actor());
    let a = one.map(&file, page());
    let map = |path| {
        let fd = two.call(&Ask::Open { path, flags: libc::O_RDWR }) as i32;
        let ask = Ask::Map { fd, len: page(), prot: 3, flags: libc::MAP_SHARED, off: 0 };
        let Answer::Mapped(addr, _) = two.ask(&ask) else { panic!("no map") };
        addr
    };
    let (linked, copied) = (map(link), map(copy));
    a.set(0, 0xaa);
    let load = |addr| two.ask(&Ask::Load { addr, len: 1 });
    assert_eq!(load(linked), Answer::Bytes(vec![0xaa]));
    assert_eq!(load(copied), Answer::Bytes(vec![fill(0)]));
}

#[test]
fn l01_a_file_that_gets_a_removed_ones_name_is_another_file() {
    let scene = scene!();
    let file = scene.file(page());
    let (one, two) = (scene.actor(), scene.actor());
    let a = one.map(&file, page());
    a.set(0, 0xaa);
    std::fs::remove_file(file.path()).expect("removing the file");
    let again = mapback_conformance::TestFile::at(file.path(), &vec![3; page()]);
    let b = two.map(&again, page());
    assert_eq!((b.get(0), b.get(1)), (3, 3));
    b.set(0, 0xbb);
    assert_eq!(a.get(0), 0xaa);
    one.end(End::Exit);
    two.end(End::Exit);
    assert_eq!((again.stored_byte(0), again.stored_byte(1)), (0xbb, 3));
    assert_eq!(file.stored_byte(0), 0xaa, "the removed file, which the test has open");
}

#[test]
fn l01_private_maps_show_what_others_store_until_they_store_themselves() {
    let scene = scene!();
    let file = scene.file(2 * page());
    let (one, two) = (scene.actor(), scene.actor());
    let a = one.map(&file, 2 * page());
    let fd = two.open(&file, libc::O_RDONLY);
    let ask = Ask::Map { fd, len: 2 * page(), prot: 3, flags: libc::MAP_PRIVATE, off: 0 };
    let Answer::Mapped(addr, _) = two.ask(&ask) else { panic!("no map") };
    two.call(&Ask::Store { addr, bytes: vec![1] });
    a.put(0, &[9, 9]);
    a.set(page(), 9);
    let load = |addr| two.ask(&Ask::Load { addr, len: 2 });
    assert_eq!(load(addr), Answer::Bytes(vec![1, fill(1)]), "its own page");
    assert_eq!(load(addr + page()), Answer::Bytes(vec![9, fill(page() + 1)]), "a page it left alone");
    two.end(End::Exit);
    one.end(End::Exit);
    assert_eq!(file.stored(0, 2), [9, 9]);
}

/// Each of two processes adds 1 so many times in each of its threads.
const THREADS: u32 = 2;
const TIMES: u32 = 20_000;

fn sum_of_both(ask: impl Fn(usize, usize) -> Ask) -> u64 {
    let scene = scene!();
    let file = scene.file_with(&vec![0; 2 * page()]);
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, 2 * page()), two.map(&file, 2 * page()));
    one.call(&Ask::InitMutex { addr: a.at(0) });
    one.begin(&ask(a.at(0), a.at(page())));
    two.begin(&ask(b.at(0), b.at(page())));
    assert_eq!((one.answer(), two.answer()), (Answer::Number(0), Answer::Number(0)));
    one.end(End::Exit);
    two.end(End::Exit);
    u64::from_ne_bytes(file.stored(page(), 8).try_into().expect("8 bytes"))
}

#[test]
fn l14_a_process_shared_mutex_between_programs_started_separately() {
    let sum = sum_of_both(|mutex, counter| Ask::AddLocked { mutex, counter, times: TIMES, threads: THREADS });
    assert_eq!(sum, u64::from(2 * TIMES * THREADS));
}

#[test]
fn l14_atomics_between_programs_started_separately() {
    let sum = sum_of_both(|_, counter| Ask::AddAtomic { counter, times: 10 * TIMES, threads: THREADS });
    assert_eq!(sum, u64::from(20 * TIMES * THREADS));
}

#[test]
fn l14_a_futex_word_wakes_the_other_program() {
    let scene = scene!();
    let file = scene.file_with(&vec![0; page()]);
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, page()), two.map(&file, page()));
    let times = 2_000;
    one.begin(&Ask::Turns { word: a.at(64), mine: 0, theirs: 1, times });
    two.begin(&Ask::Turns { word: b.at(64), mine: 1, theirs: 0, times });
    assert_eq!((one.answer(), two.answer()), (Answer::Number(0), Answer::Number(0)));
    assert_eq!(a.bytes(64, 4), [0; 4]);
}

#[test]
fn l14_a_mutex_goes_on_while_each_program_flushes() {
    let scene = scene!();
    let file = scene.file_with(&vec![0; 2 * page()]);
    let (one, two, three) = (scene.actor(), scene.actor(), scene.actor());
    let maps = [&one, &two, &three].map(|actor| actor.map(&file, 2 * page()));
    one.call(&Ask::InitMutex { addr: maps[0].at(0) });
    for (actor, map) in [&one, &two].into_iter().zip(maps) {
        let (mutex, counter) = (map.at(0), map.at(page()));
        actor.begin(&Ask::AddLocked { mutex, counter, times: TIMES, threads: 1 });
    }
    for _ in 0..100 {
        maps[2].sync();
    }
    assert_eq!((one.answer(), two.answer()), (Answer::Number(0), Answer::Number(0)));
    assert_eq!(maps[2].bytes(page(), 8), u64::from(2 * TIMES).to_ne_bytes());
    maps[2].sync();
    assert_eq!(
        file.stored(page(), 8),
        u64::from(2 * TIMES).to_ne_bytes(),
        "another's additions, flushed by a third"
    );
}
