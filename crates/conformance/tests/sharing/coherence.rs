//! L2 between processes: reading and writing calls beside maps, both ways and without a flush.

use mapback_conformance::actor::{Actor, Answer, Ask, ReadBy, WriteBy};
use mapback_conformance::{TestFile, page, scene};

/// What a call that this file system may not have gives natively: then it has to give the same to the actors.
fn refused(native: &Actor<'_>, file: &TestFile, ask: impl Fn(&TestFile) -> Ask) -> Option<Answer> {
    let other = TestFile::at(&file.path().with_extension("other"), &file.stored_all());
    match native.ask(&ask(&other)) {
        Answer::Errno(error) if [libc::EOPNOTSUPP, libc::ENOSYS, libc::EINVAL].contains(&error) => {
            Some(Answer::Errno(error))
        }
        _ => None,
    }
}

#[test]
fn l02_each_way_of_reading_sees_what_another_process_has_stored() {
    let scene = scene!();
    let len = 3 * page() + 77;
    let (native, mapper, reader) = (scene.native_actor(), scene.actor(), scene.actor());
    for by in ReadBy::ALL {
        let file = scene.file(len);
        let ask = |file: &TestFile| Ask::Read { by, path: file.path().to_owned(), off: 10, len: len - 10 };
        if let Some(answer) = refused(&native, &file, ask) {
            assert_eq!(reader.ask(&ask(&file)), answer, "{by:?}");
            continue;
        }
        let map = mapper.map(&file, len);
        let mut expected = file.stored_all();
        for round in 1..4u8 {
            for off in [10, page() - 1, page(), 2 * page() + 5, len - 1] {
                map.set(off, round);
                expected[off] = round;
            }
            assert_eq!(
                reader.ask(&ask(&file)),
                Answer::Bytes(expected[10..].to_vec()),
                "{by:?}, round {round}"
            );
        }
    }
}

#[test]
fn l02_each_way_of_reading_sees_it_where_the_reader_has_a_map_too() {
    let scene = scene!();
    let (native, mapper, reader) = (scene.native_actor(), scene.actor(), scene.actor());
    for by in ReadBy::ALL {
        let file = scene.file(2 * page());
        let ask = |file: &TestFile| Ask::Read { by, path: file.path().to_owned(), off: page() - 2, len: 4 };
        let refused = refused(&native, &file, ask);
        let (theirs, own) = (mapper.map(&file, 2 * page()), reader.map(&file, 2 * page()));
        theirs.put(page() - 2, &[1, 1, 1]);
        own.set(page() - 1, 2);
        theirs.set(page() + 1, 3);
        let expected = refused.unwrap_or(Answer::Bytes(vec![1, 2, 1, 3]));
        assert_eq!(reader.ask(&ask(&file)), expected, "{by:?}");
        theirs.set(page() - 1, 4);
        let Answer::Bytes(again) = reader.ask(&ask(&file)) else { continue };
        assert_eq!(again, [1, 4, 1, 3], "{by:?}, again");
    }
}

#[test]
fn l02_each_way_of_writing_is_seen_in_another_process_at_once() {
    let scene = scene!();
    let len = 3 * page();
    let (native, mapper, writer) = (scene.native_actor(), scene.actor(), scene.actor());
    for by in WriteBy::IN_PLACE {
        if matches!(by, WriteBy::Fprintf) && scene.under_mapback() {
            // What the printf family writes inside libc is not seen: docs/semantics.md, L2.
            continue;
        }
        let file = scene.file(len);
        let bytes = vec![b'w'; page()];
        let (path, off) = (|file: &TestFile| file.path().to_owned(), page() - 30);
        let ask = |file: &TestFile| Ask::Write { by, path: path(file), off, bytes: bytes.clone() };
        if let Some(answer) = refused(&native, &file, ask) {
            assert_eq!(writer.ask(&ask(&file)), answer, "{by:?}");
            continue;
        }
        let map = mapper.map(&file, len);
        let mut expected = file.stored_all();
        // Stores that are not flushed, beside and below what is written.
        for at in [off - 1, off + 5, off + page()] {
            map.set(at, b's');
            expected[at] = b's';
        }
        assert_eq!(writer.ask(&ask(&file)), Answer::Number(page() as i64), "{by:?}");
        expected[off..off + page()].fill(b'w');
        assert_eq!(map.bytes(0, len), expected, "{by:?}: the other's map");
        map.set(off + 7, b't');
        expected[off + 7] = b't';
        map.sync();
        assert_eq!(file.stored_all(), expected, "{by:?}: the file");
        map.unmap();
        assert_eq!(file.stored_all(), expected, "{by:?}: the file, when nobody maps it");
    }
}

#[test]
fn l02_appending_is_seen_in_another_process_and_goes_behind_its_stores() {
    let scene = scene!();
    let file = scene.file(page() - 10);
    let (mapper, writer) = (scene.actor(), scene.actor());
    let map = mapper.map(&file, 2 * page());
    for (round, len) in [(1, 5), (2, 20), (3, 100)] {
        let end = file.len();
        map.set(end - 1, round);
        let path = file.path().to_owned();
        writer.call(&Ask::Write { by: WriteBy::Append, path, off: end, bytes: vec![round + 10; len] });
        assert_eq!(file.len(), end + len);
        assert_eq!(map.bytes(end - 1, len + 1), [vec![round], vec![round + 10; len]].concat());
        map.set(end, round + 20);
    }
    map.unmap();
    assert_eq!(file.stored(page() - 11, 7), [1, 21, 11, 11, 11, 2, 22]);
}

#[test]
fn l02_a_mapping_process_reads_what_it_wrote_and_what_others_wrote() {
    // As LMDB does: it writes through a descriptor and reads through its map.
    let scene = scene!();
    let file = scene.file_with(&vec![0; 4 * page()]);
    let (one, two) = (scene.actor(), scene.actor());
    let (a, b) = (one.map(&file, 4 * page()), two.map(&file, 4 * page()));
    for round in 1..40u8 {
        let (writer, off) = (if round % 2 == 0 { &one } else { &two }, usize::from(round % 4) * page() + 3);
        let path = file.path().to_owned();
        writer.call(&Ask::Write { by: WriteBy::Pwrite, path, off, bytes: vec![round; 50] });
        assert_eq!(a.bytes(off, 50), vec![round; 50]);
        assert_eq!(b.bytes(off, 50), vec![round; 50]);
        let map = if round % 3 == 0 { a } else { b };
        map.set(off + 100, round);
        let read = Ask::Read { by: ReadBy::Pread, path: file.path().to_owned(), off, len: 101 };
        let Answer::Bytes(found) = writer.ask(&read) else { panic!("no bytes") };
        assert_eq!((found[49], found[100]), (round, round));
    }
}

#[test]
fn l02_the_end_of_a_map_brings_no_older_bytes_over_what_others_wrote() {
    let scene = scene!();
    for ends_first in [true, false] {
        let file = scene.file(2 * page());
        let (one, two) = (scene.actor(), scene.actor());
        let map = one.map(&file, 2 * page());
        map.set(0, 1);
        let path = file.path().to_owned();
        two.call(&Ask::Write { by: WriteBy::Pwrite, path, off: 1, bytes: vec![2; page()] });
        if ends_first {
            map.unmap();
        } else {
            map.sync();
        }
        assert_eq!(file.stored(0, 3), [1, 2, 2]);
        one.end(mapback_conformance::actor::End::Exit);
        assert_eq!(file.stored(0, 3), [1, 2, 2]);
        assert_eq!(file.stored_byte(page()), 2);
    }
}

#[test]
fn l02_a_descriptor_from_before_the_map_sees_the_stores_of_each_map_that_comes() {
    let scene = scene!();
    let file = scene.file(page());
    let reader = scene.actor();
    let fd = reader.open(&file, libc::O_RDWR);
    let read = |off| match reader.ask(&Ask::Pread { fd, off, len: 1 }) {
        Answer::Bytes(bytes) => bytes[0],
        other => panic!("{other:?}"),
    };
    let mut last = (file.stored_byte(0), file.stored_byte(1));
    for round in 1..6u8 {
        // What was found out about the descriptor while nobody had a map must not outlive that.
        assert_eq!((read(0), read(1)), last, "round {round}, before");
        let mapper = scene.actor();
        let map = mapper.map(&file, page());
        map.set(0, round);
        assert_eq!(read(0), round, "round {round}");
        map.set(1, round);
        assert_eq!(read(1), round, "round {round}, again");
        last = (round, round);
        // A killed process leaves traces in what all share.
        if round % 2 == 0 {
            mapper.end(mapback_conformance::actor::End::Exit);
        } else {
            mapper.kill_with_keeper();
        }
    }
}
