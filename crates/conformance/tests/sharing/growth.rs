//! L6, L7 between processes: one changes the file's length, the other has it mapped.

use mapback_conformance::actor::{Actor, Answer, Ask, End, ResizeBy, WriteBy};
use mapback_conformance::scene::fill;
use mapback_conformance::{TestFile, page, scene};

fn resize(actor: &Actor<'_>, by: ResizeBy, file: &TestFile, len: usize) -> Answer {
    actor.ask(&Ask::Resize { by, path: file.path().to_owned(), len })
}

/// Whether the file system has no such call.
fn refused(native: &Actor<'_>, file: &TestFile, by: ResizeBy, len: usize) -> Option<Answer> {
    let other = TestFile::at(&file.path().with_extension("other"), &file.stored_all());
    match resize(native, by, &other, len) {
        Answer::Number(_) => None,
        answer => Some(answer),
    }
}

#[test]
fn l06_growth_by_another_process_is_accessible_and_zero() {
    let scene = scene!();
    let (native, mapper, other) = (scene.native_actor(), scene.actor(), scene.actor());
    for by in [ResizeBy::Ftruncate, ResizeBy::Truncate, ResizeBy::Fallocate, ResizeBy::PosixFallocate] {
        let file = scene.file(page() + 100);
        let len = 4 * page() + 5;
        if let Some(answer) = refused(&native, &file, by, len) {
            assert_eq!(resize(&other, by, &file, len), answer, "{by:?}");
            continue;
        }
        let map = mapper.map(&file, 6 * page());
        map.set(page() + 99, 1);
        assert_eq!(map.fault(2 * page()), Some(libc::SIGBUS), "{by:?}");
        assert_eq!(resize(&other, by, &file, len), Answer::Number(0), "{by:?}");
        assert_eq!(map.bytes(page() + 99, 3), [1, 0, 0], "{by:?}");
        assert_eq!((map.fault(4 * page()), map.fault(5 * page())), (None, Some(libc::SIGBUS)), "{by:?}");
        map.set(4 * page() + 4, 2);
        map.set(page() + 100, 3);
        map.unmap();
        assert_eq!(file.len(), len, "{by:?}");
        assert_eq!(
            (file.stored_byte(4 * page() + 4), file.stored(page() + 99, 2)),
            (2, vec![1, 3]),
            "{by:?}"
        );
    }
}

#[test]
fn l06_a_map_of_another_sees_what_is_stored_where_one_made_the_file_grow() {
    let scene = scene!();
    let file = scene.file(page());
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, 4 * page()), two.map(&file, 4 * page()));
    resize(&one, ResizeBy::Ftruncate, &file, 3 * page());
    b.set(2 * page(), 7);
    assert_eq!(a.get(2 * page()), 7);
    a.sync();
    assert_eq!(file.stored_byte(2 * page()), 7, "the other's store in the new part");
    one.call(&Ask::Write {
        by: WriteBy::Pwrite,
        path: file.path().to_owned(),
        off: 4 * page() - 2,
        bytes: vec![5, 6],
    });
    assert_eq!(b.bytes(4 * page() - 3, 3), [0, 5, 6]);
    b.set(4 * page() - 3, 4);
    two.end(End::UnderscoreExit);
    assert_eq!(file.stored(4 * page() - 3, 3), [4, 5, 6]);
    assert_eq!(file.len(), 4 * page());
}

#[test]
fn l06_a_cut_by_another_process_takes_the_pages_away_and_they_come_back_as_zeros() {
    let scene = scene!();
    let (mapper, other) = (scene.actor(), scene.actor());
    for by in [ResizeBy::Ftruncate, ResizeBy::Truncate] {
        let file = scene.file(4 * page());
        let map = mapper.map(&file, 4 * page());
        for off in [0, 99, 100, page(), 3 * page()] {
            map.set(off, 9);
        }
        assert_eq!(resize(&other, by, &file, 100), Answer::Number(0), "{by:?}");
        assert_eq!(
            (map.fault(page()), map.fault(3 * page())),
            (Some(libc::SIGBUS), Some(libc::SIGBUS)),
            "{by:?}"
        );
        assert_eq!(map.bytes(98, 3), [fill(98), 9, 0], "{by:?}");
        map.sync();
        assert_eq!((file.len(), file.stored_byte(99)), (100, 9), "{by:?}: the file stays cut");
        assert_eq!(resize(&other, by, &file, 4 * page()), Answer::Number(0), "{by:?}");
        assert_eq!(map.bytes(3 * page(), 2), [0, 0], "{by:?}");
        assert_eq!(map.bytes(99, 2), [9, 0], "{by:?}");
        map.set(2 * page(), 8);
        map.unmap();
        let mut expected: Vec<u8> = (0..100).map(fill).collect();
        expected.resize(4 * page(), 0);
        (expected[0], expected[99], expected[2 * page()]) = (9, 9, 8);
        assert!(file.stored_all() == expected, "{by:?}: the file");
    }
}

#[test]
fn l06_emptied_at_open_by_another_process() {
    let scene = scene!();
    let (mapper, other) = (scene.actor(), scene.actor());
    for by in [ResizeBy::OpenTruncating, ResizeBy::Creat] {
        let file = scene.file(2 * page());
        let map = mapper.map(&file, 2 * page());
        map.set(page(), 9);
        assert_eq!(resize(&other, by, &file, 0), Answer::Number(0), "{by:?}");
        assert_eq!(map.fault(0), Some(libc::SIGBUS), "{by:?}");
        let path = file.path().to_owned();
        other.call(&Ask::Write { by: WriteBy::Pwrite, path, off: 0, bytes: vec![1; page()] });
        assert_eq!((map.get(5), map.fault(page())), (1, Some(libc::SIGBUS)), "{by:?}");
        map.set(6, 2);
        map.unmap();
        assert_eq!(file.stored_all().len(), page(), "{by:?}");
        assert_eq!(file.stored(5, 3), [1, 2, 1], "{by:?}");
    }
}

#[test]
fn l06_a_hole_punched_by_another_process() {
    let scene = scene!();
    let file = scene.file(4 * page());
    let (native, mapper, other) = (scene.native_actor(), scene.actor(), scene.actor());
    let (by, len) = (ResizeBy::PunchHole, 2 * page() + 10);
    if let Some(answer) = refused(&native, &file, by, len) {
        return assert_eq!(resize(&other, by, &file, len), answer);
    }
    let map = mapper.map(&file, 4 * page());
    for off in [0, page(), len - 1, len] {
        map.set(off, 9);
    }
    assert_eq!(resize(&other, by, &file, len), Answer::Number(0));
    assert_eq!(map.bytes(0, len + 1), [vec![0; len], vec![9]].concat());
    map.set(page(), 8);
    map.unmap();
    assert_eq!((file.stored_byte(0), file.stored_byte(page()), file.stored_byte(len)), (0, 8, 9));
}

#[test]
fn l07_a_map_far_longer_than_its_file_sees_what_another_process_appends() {
    let scene = scene!();
    let file = scene.file_with(b"");
    let (mapper, writer) = (scene.actor(), scene.actor());
    let map = mapper.map(&file, 64 * page());
    assert_eq!(map.fault(0), Some(libc::SIGBUS));
    for n in 0..64 {
        let path = file.path().to_owned();
        let bytes = vec![n as u8 + 1; page()];
        writer.call(&Ask::Write { by: WriteBy::Append, path, off: n * page(), bytes });
        assert_eq!(map.bytes(n * page() + 100, 2), [n as u8 + 1; 2]);
        map.set(n * page() + 100, 0xee);
    }
    mapper.end(End::Kill);
    let found: Vec<u8> = (0..64).map(|n| file.stored_byte(n * page() + 100)).collect();
    assert_eq!(found, [0xee; 64]);
}
