//! P13, P14, P23: who sees what is stored, and for how long.

use libc::{MAP_PRIVATE, MAP_SHARED, MS_SYNC, PROT_READ};
use mapback_conformance::calls::{mmap, msync, munmap};
use mapback_conformance::fd::AsRawFd;
use mapback_conformance::file::{open, pattern};
use mapback_conformance::map::{RW, get};
use mapback_conformance::process::maps_are_alone;
use mapback_conformance::{Map, TestFile, does_not_apply, own_process, page};

#[test]
fn p13_shared_stores_change_the_file_and_nothing_else_of_it() {
    own_process!();
    let len = 8 * page() + 123;
    let file = TestFile::new(len);
    let mut expected: Vec<u8> = (0..len).map(pattern).collect();
    let map = Map::shared(&file, len);
    for (at, value) in [(0, 1), (page() - 1, 2), (3 * page(), 3), (4 * page() + 77, 4), (len - 1, 5)] {
        map.set(at, value);
        expected[at] = value;
    }
    map.sync();
    assert_eq!(file.stored_all(), expected);
    map.set(5 * page(), 6);
    expected[5 * page()] = 6;
    map.unmap();
    assert_eq!(file.stored_all(), expected);
}

#[test]
fn p13_every_round_of_stores_reaches_the_file() {
    own_process!();
    // The same page again and again: a tracker that does not re-arm loses the second round.
    let file = TestFile::new(4 * page());
    let map = Map::shared(&file, 4 * page());
    for round in 1..=50u8 {
        for at in 0..4 {
            if (round as usize).is_multiple_of(at + 1) {
                map.set(at * page() + 3, round);
            }
        }
        map.sync();
        for at in 0..4 {
            let last = round / (at as u8 + 1) * (at as u8 + 1);
            let expected = if last == 0 { pattern(at * page() + 3) } else { last };
            assert_eq!(file.stored_byte(at * page() + 3), expected, "round {round}, page {at}");
        }
    }
}

#[test]
fn p13_a_map_at_an_offset_shows_and_changes_that_part() {
    own_process!();
    let file = TestFile::new(6 * page());
    let map = Map::new(2 * page(), RW, MAP_SHARED, file.fd(), 3 * page() as i64).unwrap();
    assert_eq!(map.get(10), pattern(3 * page() + 10));
    map.set(page(), 0xfe);
    map.unmap();
    assert_eq!(file.stored_byte(4 * page()), 0xfe);
    assert_eq!(file.stored_byte(page()), pattern(page()));
}

#[test]
fn p13_two_shared_maps_of_one_file_agree() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a file is mapped shared once at a time");
    }
    let file = TestFile::new(3 * page());
    let one = Map::shared(&file, 3 * page());
    let other_descriptor = file.open(libc::O_RDWR);
    let two = Map::new(2 * page(), RW, MAP_SHARED, other_descriptor.as_raw_fd(), page() as i64).unwrap();
    one.set(page(), 0x21);
    assert_eq!(two.get(0), 0x21);
    two.set(page() + 1, 0x22);
    assert_eq!(one.get(2 * page() + 1), 0x22);
    one.unmap();
    assert_eq!(two.get(0), 0x21);
    two.unmap();
    assert_eq!(file.stored_byte(page()), 0x21);
    assert_eq!(file.stored_byte(2 * page() + 1), 0x22);
}

#[test]
fn p13_a_second_map_made_while_the_first_is_dirty_shows_its_stores() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a file is mapped shared once at a time");
    }
    let file = TestFile::new(2 * page());
    let first = Map::shared(&file, 2 * page());
    first.set(0, 0x31);
    let second = Map::shared(&file, 2 * page());
    assert_eq!(second.get(0), 0x31);
    let private = Map::private(&file, 2 * page());
    assert_eq!(private.get(0), 0x31);
    let again = Map::new(page(), PROT_READ, MAP_SHARED, file.open(libc::O_RDONLY).as_raw_fd(), 0).unwrap();
    assert_eq!(again.get(0), 0x31);
    second.set(1, 0x32);
    assert_eq!(first.get(1), 0x32);
    assert_eq!(again.get(1), 0x32);
    first.unmap();
    second.sync();
    assert_eq!(file.stored(0, 2), [0x31, 0x32]);
}

#[test]
fn p13_a_hard_link_is_the_same_file() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a file is mapped shared once at a time");
    }
    let file = TestFile::new(page());
    let link = file.path().with_extension("link");
    std::fs::hard_link(file.path(), &link).unwrap();
    let map = Map::shared(&file, page());
    let linked = Map::new(page(), RW, MAP_SHARED, open(&link, libc::O_RDWR).as_raw_fd(), 0).unwrap();
    map.set(0, 0x44);
    assert_eq!(linked.get(0), 0x44);
}

#[test]
fn p13_msync_through_one_map_writes_what_was_stored_through_another() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a file is mapped shared once at a time");
    }
    let file = TestFile::new(page());
    let (one, two) = (Map::shared(&file, page()), Map::shared(&file, page()));
    two.set(7, 0x45);
    one.sync();
    assert_eq!(file.stored_byte(7), 0x45);
}

#[test]
fn p13_a_file_that_was_replaced_by_another_is_another_file() {
    own_process!();
    // Inode numbers are used again at once on ext4: identity is more than the number.
    let path = mapback_conformance::process::scratch().join("same-name");
    for round in 0..20u8 {
        let file = TestFile::at(&path, &vec![round; page()]);
        let map = Map::shared(&file, page());
        assert_eq!(map.get(0), round);
        map.set(1, 0xff);
        map.unmap();
        assert_eq!(file.stored(0, 3), [round, 0xff, round]);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn p23_private_stores_never_reach_the_file() {
    own_process!();
    let file = TestFile::new(4 * page());
    let map = Map::private(&file, 4 * page());
    let shared = Map::shared(&file, 4 * page());
    for at in 0..4 * page() {
        map.set(at, 0xee);
    }
    for flags in [MS_SYNC, libc::MS_ASYNC, MS_SYNC | libc::MS_INVALIDATE] {
        msync(map.addr(), map.len(), flags).unwrap();
        assert_eq!(map.get(2 * page()), 0xee);
    }
    assert_eq!(shared.get(0), pattern(0), "nor another map");
    map.unmap();
    shared.unmap();
    assert_eq!(file.stored_all(), (0..4 * page()).map(pattern).collect::<Vec<_>>());
}

#[test]
fn p23_two_private_maps_are_apart() {
    own_process!();
    let file = TestFile::new(page());
    let (one, two) = (Map::private(&file, page()), Map::private(&file, page()));
    one.set(0, 1);
    two.set(0, 2);
    assert_eq!((one.get(0), two.get(0)), (1, 2));
    assert_eq!(one.get(1), two.get(1));
}

#[test]
fn p14_a_map_outlives_its_descriptor() {
    own_process!();
    let file = TestFile::new(page());
    let descriptor = file.open(libc::O_RDWR);
    let map = Map::new(page(), RW, MAP_SHARED, descriptor.as_raw_fd(), 0).unwrap();
    drop(descriptor);
    map.set(0, 0x51);
    map.sync();
    assert_eq!(file.stored_byte(0), 0x51);
    map.set(1, 0x52);
    map.unmap();
    assert_eq!(file.stored_byte(1), 0x52);
}

#[test]
fn p14_a_descriptor_number_that_is_used_again_gets_nothing() {
    own_process!();
    let file = TestFile::new(page());
    let descriptor = file.open(libc::O_RDWR);
    let number = descriptor.as_raw_fd();
    let map = Map::new(page(), RW, MAP_SHARED, number, 0).unwrap();
    map.set(0, 0x61);
    drop(descriptor);
    let bystander = TestFile::new(page());
    // SAFETY: dup2 onto a number that was closed just now and that nothing in this process owns.
    let taken = unsafe { libc::dup2(bystander.fd(), number) };
    assert_eq!(taken, number);
    map.sync();
    map.set(1, 0x62);
    map.unmap();
    assert_eq!(file.stored(0, 2), [0x61, 0x62]);
    assert_eq!(bystander.stored_all(), (0..page()).map(pattern).collect::<Vec<_>>());
}

#[test]
fn p14_a_map_outlives_the_files_name() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a file is mapped shared once at a time");
    }
    let file = TestFile::new(2 * page());
    let descriptor = file.open(libc::O_RDWR);
    let map = Map::new(2 * page(), RW, MAP_SHARED, descriptor.as_raw_fd(), 0).unwrap();
    std::fs::remove_file(file.path()).unwrap();
    drop(descriptor);
    assert_eq!(map.get(page()), pattern(page()));
    map.set(page(), 0x71);
    map.sync();
    assert_eq!(file.stored_byte(page()), 0x71, "an open descriptor still reaches the file");
    let second = Map::shared(&file, 2 * page());
    assert_eq!(second.get(page()), 0x71);
    map.set(0, 0x72);
    map.unmap();
    assert_eq!(file.stored_byte(0), 0x72);
}

#[test]
fn p14_a_file_that_nobody_else_holds_may_vanish_under_its_map() {
    own_process!();
    let path = mapback_conformance::process::scratch().join("vanishing");
    let addr = {
        let file = TestFile::at(&path, &vec![7; page()]);
        mmap(0, page(), RW, MAP_SHARED, file.fd(), 0).unwrap()
    };
    std::fs::remove_file(&path).unwrap();
    assert_eq!(get(addr), 7);
    msync(addr, page(), MS_SYNC).unwrap();
    munmap(addr, page()).unwrap();
}

#[test]
fn p14_a_renamed_file_gets_the_stores() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    let renamed = file.path().with_extension("renamed");
    std::fs::rename(file.path(), &renamed).unwrap();
    let impostor = TestFile::at(file.path(), &vec![0; page()]);
    map.set(0, 0x81);
    map.unmap();
    assert_eq!(std::fs::read(&renamed).unwrap()[0], 0x81);
    assert_eq!(impostor.stored_byte(0), 0);
}

#[test]
fn p14_permissions_taken_away_later_do_not_matter() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    let mut permissions = std::fs::metadata(file.path()).unwrap().permissions();
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0);
    #[cfg(windows)]
    permissions.set_readonly(true);
    std::fs::set_permissions(file.path(), permissions).unwrap();
    map.set(0, 0x91);
    map.sync();
    assert_eq!(file.stored_byte(0), 0x91);
    map.protect(0, page(), PROT_READ).unwrap();
    map.protect(0, page(), RW).unwrap();
    map.set(1, 0x92);
    map.unmap();
    assert_eq!(file.stored_byte(1), 0x92);
}

#[test]
fn p14_a_read_only_map_beside_a_writable_one() {
    own_process!();
    if maps_are_alone() {
        return does_not_apply("with `write-watch` a file is mapped shared once at a time");
    }
    // The image came to be through a descriptor that cannot write; the later one can.
    let file = TestFile::new(page());
    let reader = Map::new(page(), PROT_READ, MAP_SHARED, file.open(libc::O_RDONLY).as_raw_fd(), 0).unwrap();
    let private = Map::new(page(), RW, MAP_PRIVATE, file.open(libc::O_RDONLY).as_raw_fd(), 0).unwrap();
    let writer = Map::new(page(), RW, MAP_SHARED, file.open(libc::O_RDWR).as_raw_fd(), 0).unwrap();
    writer.set(0, 0xa1);
    assert_eq!(reader.get(0), 0xa1);
    // P13 leaves it open whether a private map shows later stores to the file; on Windows it is a copy.
    assert_eq!(private.get(0), if cfg!(windows) { pattern(0) } else { 0xa1 });
    writer.sync();
    assert_eq!(file.stored_byte(0), 0xa1);
    writer.set(1, 0xa2);
    writer.unmap();
    assert_eq!(file.stored_byte(1), 0xa2);
    assert_eq!(reader.get(1), 0xa2);
}
