//! Atomic flushes, with the journal in a file.

use super::{Fixture, each_tracker};
use mapback::store::{FileStore, JournalError, JournalStore, Store, write_full};
use mapback::{Error, Mmap, MmapMut, MmapOptions};
use std::fs::File;
#[cfg(unix)]
use std::fs::Permissions;
use std::io::ErrorKind;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// Leaves a journal with a committed change behind, as a crash between commit and checkpoint does.
pub(super) fn leave_a_commit(file: &Fixture, at: u64, bytes: &[u8]) {
    std::fs::write(file.journal(), b"").unwrap();
    let inner = Arc::new(FileStore::read_write(&file.path).unwrap());
    let medium = Arc::new(FileStore::read_write(file.journal()).unwrap());
    let store = JournalStore::open(inner, medium, Default::default()).unwrap();
    write_full(&store, bytes, at).unwrap();
    store.sync().unwrap();
    // The checkpoint at its end is made undone.
    let (before, left) = (file.content(), std::fs::read(file.journal()).unwrap());
    drop(store);
    assert!(file.content() != before);
    std::fs::write(&file.path, before).unwrap();
    std::fs::write(file.journal(), left).unwrap();
}

#[test]
fn a_commit_is_in_the_journal_first_and_in_the_file_at_the_end() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 20_000]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[0] = 1;
        map[15_000] = 2;
        map.flush_atomic().unwrap();
        assert!(file.journal().exists());
        assert_eq!(file.content()[0], 0, "{options:?}: not yet");
        map[1] = 3;
        map.flush_atomic().unwrap();
        map[2] = 4;
        drop(map);
        assert!(!file.journal().exists(), "{options:?}: removed when all is in the file");
        let content = file.content();
        assert_eq!((&content[..3], content[15_000]), (&[1, 3, 4][..], 2), "{options:?}");
    }
}

#[test]
fn maps_of_this_process_see_what_is_committed() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 20_000]);
        let mut map = options.map_mut(file.open()).unwrap();
        map[0] = 1;
        map.flush_atomic().unwrap();
        assert_eq!(Mmap::map(file.open()).unwrap()[0], 1, "{options:?}");
        map[0] = 2;
        map.flush_atomic().unwrap();
        map.fill(9);
        map.revert().unwrap();
        assert_eq!((map[0], map[1]), (2, 0), "{options:?}");
        map[1] = 3;
        map.flush().unwrap();
        assert_eq!(file.content()[..2], [2, 3], "{options:?}: a plain flush brings commits along");
        map.close().unwrap();
        assert!(!file.journal().exists());
    }
}

#[test]
fn what_a_crash_left_is_replayed_by_the_next_map() {
    let file = Fixture::new(&[0; 20_000]);
    leave_a_commit(&file, 5000, b"committed");
    // Who may only read sees it, and leaves the file alone.
    let map = Mmap::map(File::open(&file.path).unwrap()).unwrap();
    assert_eq!(map[5000..5009], *b"committed");
    drop(map);
    assert_eq!(file.content()[5000], 0);
    let map = MmapMut::map_mut(file.open()).unwrap();
    assert_eq!(map[5000..5009], *b"committed");
    assert_eq!(file.content()[5000..5009], *b"committed");
    assert!(!file.journal().exists());
}

fn refusal(file: &Fixture) -> String {
    let error = MmapMut::map_mut(file.open()).unwrap_err();
    assert!(matches!(Error::of(&error), Some(Error::Journal { .. })), "{error:?}");
    error.to_string()
}

#[test]
fn a_journal_that_cannot_be_believed_keeps_the_file_from_being_written() {
    let file = Fixture::new(&[0; 20_000]);
    leave_a_commit(&file, 0, &[1; 100]);
    let good = std::fs::read(file.journal()).unwrap();
    for (at, why) in [(8192 + 100, None), (3, Some("damaged")), (20, Some("damaged"))] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(file.journal(), &bad).unwrap();
        match why {
            Some(why) => assert!(refusal(&file).contains(why), "byte {at}"),
            // A last commit that is torn is what a crash leaves.
            None => drop(Mmap::map(File::open(&file.path).unwrap()).unwrap()),
        }
    }
    let other = Fixture::new(&[0; 20_000]);
    std::fs::write(other.journal(), &good).unwrap();
    assert!(refusal(&other).contains("belongs to another file"));
    assert!(Mmap::map(File::open(&other.path).unwrap()).is_ok(), "reading goes on");
    assert_eq!(other.content(), [0; 20_000]);
    std::fs::remove_file(other.journal()).unwrap();
    std::fs::create_dir(other.journal()).unwrap();
    assert!(refusal(&other).contains("journal"));
}

#[cfg(unix)]
#[test]
fn a_journal_that_a_stranger_may_have_written_is_no_journal() {
    let file = Fixture::new(&[0; 20_000]);
    leave_a_commit(&file, 0, &[1; 100]);
    let left = std::fs::read(file.journal()).unwrap();
    let mode = |mode| Permissions::from_mode(mode);
    std::fs::set_permissions(&file.path, mode(0o644)).unwrap();
    std::fs::set_permissions(file.journal(), mode(0o646)).unwrap();
    let mut map = MmapMut::map_mut(file.open()).unwrap();
    assert_eq!(map[..100], [0; 100]);
    map[0] = 2;
    let error = map.flush_atomic().unwrap_err();
    assert!(error.to_string().contains("another user"), "{error}");
    map.flush().unwrap();
    drop(map);
    assert!(std::fs::read(file.journal()).unwrap() == left);
    // Where everybody may write the file, everybody may have made a commit.
    std::fs::set_permissions(&file.path, mode(0o646)).unwrap();
    assert_eq!(MmapMut::map_mut(file.open()).unwrap()[..100], [1; 100]);
    // A link could lead anywhere.
    std::os::unix::fs::symlink(&file.path, file.journal()).unwrap();
    assert!(refusal(&file).contains("cannot open the journal"));
}

#[cfg(unix)]
#[test]
fn a_journal_can_be_read_by_those_who_may_read_its_file() {
    for mode in [0o600, 0o640, 0o644, 0o664] {
        let file = Fixture::new(&[0; 5000]);
        std::fs::set_permissions(&file.path, Permissions::from_mode(mode)).unwrap();
        let mut map = MmapMut::map_mut(file.open()).unwrap();
        map[0] = 1;
        map.flush_atomic().unwrap();
        let found = std::fs::metadata(file.journal()).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{found:o}");
    }
}

#[test]
fn a_journal_in_use_is_left_alone() {
    let file = Fixture::new(&[0; 5000]);
    let journal = File::options().create(true).truncate(true).write(true).open(file.journal()).unwrap();
    #[cfg(unix)]
    rustix::fs::flock(&journal, rustix::fs::FlockOperation::LockExclusive).unwrap();
    #[cfg(windows)]
    journal.lock().unwrap();
    assert!(refusal(&file).contains("in use"));
    let kind = MmapMut::map_mut(file.open()).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::WouldBlock);
    assert!(Mmap::map(File::open(&file.path).unwrap()).is_ok());
    drop(journal);
    MmapMut::map_mut(file.open()).unwrap();
}

#[test]
fn the_journal_is_where_the_option_says() {
    let file = Fixture::new(&[0; 5000]);
    let place = file.path.with_file_name("elsewhere");
    let options = MmapOptions::new().journal(&place).clone();
    let mut map = options.map_mut(file.open()).unwrap();
    map[0] = 1;
    map.flush_atomic().unwrap();
    assert!(place.exists() && !file.journal().exists());
    drop(map);
    assert!(!place.exists());
}

/// Not under Wine: there a file that was deleted keeps its name until it is closed.
#[cfg(unix)]
#[test]
fn a_file_that_nobody_can_find_again_has_to_be_told_a_place() {
    let file = Fixture::new(&[0; 5000]);
    let open = file.open();
    std::fs::remove_file(&file.path).unwrap();
    let mut map = MmapMut::map_mut(&open).unwrap();
    map[0] = 2;
    assert!(map.flush_atomic().unwrap_err().to_string().contains("MmapOptions::journal"));
    map.flush().unwrap();
}

#[test]
fn a_full_journal_is_written_to_its_file() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 100_000]);
        let mut map = options.clone().journal_limit(50_000).map_mut(file.open()).unwrap();
        for n in 0..100 {
            map[n * 1000] = 1;
            map.flush_atomic().unwrap();
        }
        let len = std::fs::metadata(file.journal()).unwrap().len();
        assert!(len <= 2 << 20, "{options:?}: the journal has {len} bytes");
        assert_eq!(file.content()[0], 1, "{options:?}");
        drop(map);
        assert_eq!(file.content().iter().filter(|b| **b == 1).count(), 100, "{options:?}");
    }
}

#[test]
fn a_commit_larger_than_a_part_is_one() {
    let file = Fixture::new(&vec![0; 20 << 20]);
    let mut map = MmapMut::map_mut(file.open()).unwrap();
    map.fill(7);
    map.flush_atomic().unwrap();
    assert!(file.content().iter().all(|b| *b == 0));
    drop(map);
    assert!(file.content().iter().all(|b| *b == 7));
}

#[test]
fn journal_errors_say_what_to_do() {
    for error in [
        JournalError::OtherFile,
        JournalError::InUse,
        JournalError::Stranger,
        JournalError::Waiting(7),
        JournalError::Version(9),
        JournalError::Damaged { at: 1, why: "x".into() },
        JournalError::Read(ErrorKind::Other.into()),
        JournalError::Open(ErrorKind::Other.into()),
    ] {
        assert!(error.to_string().len() > 40, "{error}");
    }
}
