//! L2: a file is mapped for the first time while another program writes to it.

use mapback_conformance::actor::{Answer, Ask, WriteBy};
use mapback_conformance::{Scene, TestFile, page, scene};
use mapback_testkit::stop::{Stopped, Syscall};

const LEN: usize = 3333;

/// The system call by which a way of writing does it.
fn number_of(by: WriteBy) -> i64 {
    match by {
        WriteBy::Append => libc::SYS_write,
        WriteBy::Pwrite => libc::SYS_pwrite64,
        WriteBy::Pwritev => libc::SYS_pwritev,
        WriteBy::Pwritev2 => libc::SYS_pwritev2,
        WriteBy::CopyFileRange => libc::SYS_copy_file_range,
        other => unreachable!("{other:?} is none of WAYS"),
    }
}

/// Writes `LEN` times `byte` at `off`, and stops the writer when the kernel is about to and when it has. `between` and
/// `after` are done then, of which the first makes the file's first map.
fn write_beside(
    scene: &Scene,
    file: &TestFile,
    by: WriteBy,
    off: usize,
    between: impl FnOnce(),
    after: impl FnOnce(),
) {
    let writer = scene.actor();
    let stopped = Stopped::anywhere(writer.pid()).expect("tracing the writer");
    writer.begin(&Ask::Write { by, path: file.path().to_owned(), off, bytes: vec![77; LEN] });
    let wanted = |call: Syscall| {
        // By its length, if it is said in the call: what the actor tells the test is written as well.
        let vectors = [WriteBy::Pwritev, WriteBy::Pwritev2].contains(&by);
        call.number == number_of(by) && (vectors || call.args.contains(&(LEN as u64)))
    };
    stopped.until(wanted).expect("the writer comes to its call");
    between();
    stopped.until_done().expect("the call is done");
    after();
    drop(stopped);
    match writer.answer() {
        Answer::Number(written) => assert_eq!(written, LEN as i64, "{by:?}"),
        other => panic!("{by:?}: {other:?}"),
    }
}

/// Ways whose one system call says where it writes, which is then written again; and appending, of which nothing can be
/// lost behind the file's old end. What goes to the file offset elsewhere is a known fault (docs/design.md).
const WAYS: [WriteBy; 5] =
    [WriteBy::Pwrite, WriteBy::Pwritev, WriteBy::Pwritev2, WriteBy::CopyFileRange, WriteBy::Append];

/// The one who maps it has what was in the file before, and may write that back at the worst of times.
#[test]
fn l02_what_is_written_while_a_file_is_mapped_for_the_first_time_is_kept() {
    let scene = scene!();
    for by in WAYS {
        let appends = by == WriteBy::Append;
        let file = scene.file(if appends { 2 * page() - 1000 } else { 2 * page() });
        let off = if appends { file.len() } else { page() - 1000 };
        let mut expected = file.stored_all();
        expected.resize(expected.len().max(off + LEN), 0);
        expected[off..off + LEN].fill(77);
        let mapper = scene.actor();
        let mut map = None;
        let between = || {
            let made = mapper.map(&file, 2 * page());
            made.set(off - 5, 1);
            map = Some(made);
        };
        let after = || {
            mapper.call(&Ask::Flush {
                by: mapback_conformance::actor::FlushBy::Fsync,
                path: file.path().into(),
            });
        };
        write_beside(&scene, &file, by, off, between, after);
        expected[off - 5] = 1;
        let map = map.expect("it was made");
        assert!(map.bytes(0, 2 * page()) == expected[..2 * page()], "{by:?}: in memory");
        map.set(0, 2);
        expected[0] = 2;
        map.sync();
        assert!(file.stored_all() == expected, "{by:?}: in the file");
    }
}
