//! W6: processes that map one file share its stores, and what a killed one stored is not lost as long as another has
//! the file mapped.

use mapback_conformance::process::{Other, arrive, maps_are_alone, role, scratch};
use mapback_conformance::{Map, TestFile, does_not_apply, own_process, page, test_path};

fn the_file() -> Map {
    let path = scratch().join("shared");
    let fd = mapback_conformance::file::open(&path, libc::O_RDWR);
    let fd = mapback_conformance::fd::AsRawFd::as_raw_fd(&fd);
    Map::new(8 * page(), mapback_conformance::map::RW, libc::MAP_SHARED, fd, 0).expect("a shared map")
}

fn make() -> TestFile {
    TestFile::at(&scratch().join("shared"), &vec![1; 8 * page()])
}

#[test]
fn w06_two_processes_see_each_others_stores() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a map is one process's alone");
    }
    if role().is_some() {
        let map = the_file();
        assert_eq!((map.get(0), map.get(page())), (2, 1), "what was stored before this process came");
        map.set(page(), 3);
        arrive("stored");
        assert_eq!(map.get(2 * page()), 4);
        map.set(3 * page(), 5);
        arrive("again");
        map.unmap();
        return;
    }
    let file = make();
    let map = the_file();
    map.set(0, 2);
    let mut other = Other::start(test_path!(), "other");
    other.wait_for("stored");
    assert_eq!(map.get(page()), 3);
    map.set(2 * page(), 4);
    other.go_on();
    other.wait_for("again");
    assert_eq!(map.get(3 * page()), 5);
    assert_eq!(file.stored_all(), vec![1; 8 * page()], "nobody has synced");
    map.sync();
    assert_eq!((file.stored_byte(0), file.stored_byte(2 * page())), (2, 4));
    other.go_on();
    other.assert_good();
    assert_eq!((file.stored_byte(page()), file.stored_byte(3 * page())), (3, 5));
    map.unmap();
    let again = the_file();
    assert_eq!([0, 1, 2, 3].map(|at| again.get(at * page())), [2, 3, 4, 5]);
}

#[test]
fn w06_what_a_killed_process_stored_is_written_by_one_that_lives() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a map is one process's alone");
    }
    if role().is_some() {
        let map = the_file();
        map.set(page() + 5, 0x21);
        map.set(7 * page() + 4095, 0x22);
        arrive("stored");
        return;
    }
    let file = make();
    let map = the_file();
    let mut other = Other::start(test_path!(), "victim");
    other.wait_for("stored");
    other.kill();
    assert_eq!(map.get(page() + 5), 0x21, "the memory is still there");
    assert_eq!(file.stored_byte(page() + 5), 1);
    map.set(0, 0x23);
    map.sync();
    assert_eq!((file.stored_byte(page() + 5), file.stored_byte(7 * page() + 4095)), (0x21, 0x22));
    map.unmap();
    assert_eq!(file.stored_byte(0), 0x23);
}

#[test]
fn w06_the_end_of_the_last_process_writes_what_a_killed_one_stored() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a map is one process's alone");
    }
    match role().as_deref() {
        Some("victim") => {
            the_file().set(5, 0x31);
            let kept = the_file();
            kept.set(page(), 0x32);
            arrive("stored");
        }
        Some(_) => {
            let kept = the_file();
            arrive("mapped");
            assert_eq!(kept.get(page()), 0x32);
            // Ends with its map, having stored nothing.
            kept.leak();
        }
        None => {
            let file = make();
            let mut heir = Other::start(test_path!(), "heir");
            heir.wait_for("mapped");
            let mut victim = Other::start(test_path!(), "victim");
            victim.wait_for("stored");
            victim.kill();
            heir.go_on();
            heir.assert_good();
            assert_eq!((file.stored_byte(5), file.stored_byte(page())), (0x31, 0x32));
        }
    }
}

#[test]
fn w06_a_new_length_is_seen_by_the_other_process() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a map is one process's alone");
    }
    if role().is_some() {
        let map = the_file();
        arrive("mapped");
        map.sync();
        assert!(map.load(2 * page()).is_err(), "the file was cut");
        arrive("cut");
        map.sync();
        assert_eq!(map.load(4 * page()), Ok(0), "and grew again");
        map.set(4 * page(), 0x41);
        map.unmap();
        return;
    }
    let file = make();
    let map = the_file();
    let mut other = Other::start(test_path!(), "other");
    other.wait_for("mapped");
    mapback_conformance::calls::ftruncate(file.fd(), page() as i64).unwrap();
    map.sync();
    assert!(map.load(page()).is_err());
    other.go_on();
    other.wait_for("cut");
    mapback_conformance::calls::ftruncate(file.fd(), 5 * page() as i64).unwrap();
    map.sync();
    assert_eq!(map.load(4 * page()), Ok(0));
    other.go_on();
    other.assert_good();
    assert_eq!(map.get(4 * page()), 0x41);
    assert_eq!(file.stored_byte(4 * page()), 0x41);
    assert_eq!(file.len(), 5 * page());
}
