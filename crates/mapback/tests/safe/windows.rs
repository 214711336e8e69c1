//! What is this system's own: handles, share modes, and what others may do to a mapped file.

use super::{Fixture, each_tracker};
use mapback::posix::{Config, Request, Space};
use mapback::{Mmap, MmapAsRawDesc, MmapMut, MmapOptions, OnConflict};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[test]
fn handles_of_all_kinds_can_be_mapped() {
    let file = Fixture::new(b"content");
    let owned = OwnedHandle::from(file.open());
    assert_eq!(Mmap::map(&owned).unwrap()[..], *b"content");
    assert_eq!(Mmap::map(owned.as_handle()).unwrap()[..], *b"content");
    let by_number = owned.as_raw_handle().as_raw_desc();
    // SAFETY: `owned` is open.
    assert_eq!(Mmap::map(unsafe { by_number.borrow() }).unwrap()[..], *b"content");
    let mut map = MmapMut::map_mut(owned).unwrap();
    map[0] = b'C';
    map.close().unwrap();
    assert_eq!(file.content(), b"Content");
}

#[test]
fn without_a_choice_pages_are_noted_and_what_else_others_wrote_is_kept() {
    // The tracker `compare` would keep byte 1, and `whole` would not keep byte 5000.
    let file = Fixture::new(&[0; 12_288]);
    let mut map = MmapOptions::new().on_conflict(OnConflict::Overwrite).map_mut(file.open()).unwrap();
    map[0] = 1;
    file.write_at(&[9], 1);
    file.write_at(&[9], 5000);
    map.flush().unwrap();
    let content = file.content();
    assert_eq!((content[..2].to_vec(), content[5000]), (vec![1, 0], 9));
}

#[test]
fn a_mapped_file_may_be_made_longer_and_shorter_renamed_and_deleted() {
    for options in each_tracker() {
        let file = Fixture::new(&[0; 70_000]);
        let mut map = options.clone().on_conflict(OnConflict::Merge).map_mut(file.open()).unwrap();
        for len in [200_000, 65_537, 10] {
            file.open().set_len(len).unwrap();
            map[69_999] = map[69_999].wrapping_add(1);
            map[5] += 1;
            map.flush().unwrap();
            let content = file.content();
            assert_eq!((content.len() as u64, content[5]), (len, map[5]), "{options:?}");
        }
        let moved = file.path.with_file_name("moved");
        std::fs::rename(&file.path, &moved).unwrap();
        map[6] = 7;
        map.flush().unwrap();
        assert_eq!(std::fs::read(&moved).unwrap()[6], 7, "{options:?}");
        std::fs::remove_file(&moved).unwrap();
        map[6] = 8;
        map.flush().unwrap();
        drop(map);
        assert!(!moved.exists(), "{options:?}");
    }
}

#[test]
fn a_file_that_its_owner_shares_with_nobody_can_be_mapped_and_its_offset_stays() {
    for options in each_tracker() {
        let file = Fixture::new(&[1; 20_000]);
        let mut alone = File::options().read(true).write(true).share_mode(0).open(&file.path).unwrap();
        alone.seek(SeekFrom::Start(77)).unwrap();
        let mut map = options.map_mut(&alone).unwrap();
        for n in 2..5 {
            map[10_000] = n;
            map.flush().unwrap();
        }
        assert_eq!(alone.stream_position().unwrap(), 77, "{options:?}");
        map.close().unwrap();
        let age = alone.metadata().unwrap().modified().unwrap().elapsed().unwrap_or_default();
        assert!(age < Duration::from_secs(24 * 3600), "{options:?}: modified {age:?} ago");
        drop(alone);
        assert_eq!(file.content()[9999..10_002], [1, 4, 1], "{options:?}");
    }
}

#[test]
fn a_journal_that_somebody_shares_with_nobody_is_in_use() {
    let file = Fixture::new(&[0; 5000]);
    let options = File::options().create(true).write(true).share_mode(0).clone();
    let theirs = options.open(file.journal()).unwrap();
    let error = MmapMut::map_mut(file.open()).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(theirs);
    MmapMut::map_mut(file.open()).unwrap();
}

/// Where this program finds its file when it is the one to be ended.
const FILE: &str = "MAPBACK_TEST_END_FILE";

fn commit(path: &Path) -> MmapMut {
    let mut map = MmapMut::map_mut(path).unwrap();
    map[0] = 1;
    map[9999] = 1;
    map.flush_atomic().unwrap();
    map[1] = 2;
    map
}

/// What the test below starts, in a process of its own; by itself it ends as programs should.
#[test]
fn commits_and_waits() {
    let Some(path) = std::env::var_os(FILE).map(PathBuf::from) else {
        let file = Fixture::new(&[0; 10_000]);
        drop(commit(&file.path));
        assert_eq!(file.content()[..2], [1, 2]);
        return;
    };
    let _map = commit(&path);
    std::fs::write(path.with_extension("done"), "").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_process_that_is_ended_leaves_its_commits_and_until_then_its_journal_is_in_use() {
    let file = Fixture::new(&[0; 10_000]);
    let mut other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "windows::commits_and_waits", "--test-threads=1"])
        .env(FILE, &file.path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !file.path.with_extension("done").exists() {
        assert!(other.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(2));
    }
    let error = MmapMut::map_mut(file.open()).unwrap_err();
    let reader = Mmap::map(File::open(&file.path).unwrap()).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(error.to_string().contains("in use"), "{error}");
    assert!(reader.iter().all(|b| *b == 0), "the file itself is as it was");
    let map = MmapMut::map_mut(file.open()).unwrap();
    assert_eq!((map[0], map[1], map[9999]), (1, 0, 1));
    assert!(!file.journal().exists() && file.content()[..] == map[..]);
}

#[test]
fn an_image_has_what_an_atomic_flush_left_in_its_journal() {
    const PROT_READ: i32 = 1;
    const MAP_SHARED: i32 = 1;
    let file = Fixture::new(&[0; 20_000]);
    super::atomic::leave_a_commit(&file, 5000, b"committed");
    let open = file.open();
    let space = Space::new(Config::default());
    let fd = open.as_raw_handle() as isize;
    let request = Request { addr: 0, len: 20_000, prot: PROT_READ, flags: MAP_SHARED, fd, off: 0 };
    // SAFETY: at an address that is free.
    let addr = unsafe { space.mmap(request) }.unwrap();
    // SAFETY: mapped to be read, and nobody stores to it.
    let bytes = unsafe { std::slice::from_raw_parts((addr + 5000) as *const u8, 9) };
    assert_eq!(bytes, b"committed");
    // SAFETY: not used any more.
    unsafe { space.munmap(addr, 20_000) }.unwrap();
    assert!(!file.journal().exists());
    assert_eq!(file.content()[5000..5009], *b"committed");
}
