//! Journals that killed programs left behind, and programs under mapback that map their files next.

mod common;

use common::*;
use mapback::{MmapMut, MmapShared, TrackerKind};
use std::fs::{File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::Ordering;

/// Where this program finds its file when it is started by a test, and what it shall do with it.
const FILE: &str = "MAPBACK_TEST_JOURNAL_FILE";
const ROLE: &str = "MAPBACK_TEST_JOURNAL_ROLE";
const LEN: usize = 20_000;

fn open(path: &Path, write: bool) -> File {
    File::options().read(true).write(write).open(path).unwrap()
}

/// Commits, and is killed before the commit is in the file.
fn commit_and_die(path: &Path) {
    let mut map = MmapMut::map_mut(open(path, true)).unwrap();
    for part in [0..9, 15_000..15_009] {
        map[part].copy_from_slice(b"committed");
    }
    map.flush_atomic().unwrap();
    map[..5].copy_from_slice(b"never");
    // SAFETY: ends this process.
    unsafe { libc::raise(libc::SIGKILL) };
}

/// What `cat` would be if it mapped: shows what the file has, by a map of the kind that the role says.
fn show(path: &Path, role: &str) {
    let (write, flags) = match role {
        "shared" => (true, libc::MAP_SHARED),
        "private" => (false, libc::MAP_PRIVATE),
        other => panic!("{other}"),
    };
    let (file, null) = (open(path, write), std::ptr::null_mut());
    let prot = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    // SAFETY: a new map at an address that the system chooses.
    let map = unsafe { libc::mmap(null, LEN, prot, flags, file.as_raw_fd(), 0) };
    if map == libc::MAP_FAILED {
        println!("\nno map: {}", std::io::Error::last_os_error());
        return;
    }
    // SAFETY: mapped in the lines above, and nobody stores to it.
    let bytes = unsafe { std::slice::from_raw_parts(map.cast::<u8>(), LEN) };
    let seen = [&bytes[..9], &bytes[15_000..15_009]].map(String::from_utf8_lossy);
    println!("\nseen: {} {}", seen[0], seen[1]);
}

/// By itself it shows a file that needs no replay.
#[test]
fn the_program() {
    let path = std::env::var_os(FILE).map(PathBuf::from);
    match (path, std::env::var(ROLE).as_deref()) {
        (Some(path), Ok("commit")) => commit_and_die(&path),
        (Some(path), Ok(role)) => show(&path, role),
        _ => {
            let dir = folder();
            let path = file(dir.path());
            show(&path, "shared");
            assert_eq!(std::fs::read(&path).unwrap(), [b'.'; LEN]);
        }
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn file(dir: &Path) -> PathBuf {
    let path = dir.join("file");
    std::fs::write(&path, [b'.'; LEN]).unwrap();
    path
}

fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".mapback-journal");
    name.into()
}

fn start(mut command: Command, path: &Path, role: &str) -> Output {
    command.args(["--exact", "the_program", "--test-threads=1", "--nocapture"]);
    command.env(FILE, path).env(ROLE, role).output().unwrap()
}

/// A file whose journal has a commit that the file has not.
fn left_by_a_kill(dir: &Path) -> PathBuf {
    let path = file(dir);
    let output = start(Command::new(std::env::current_exe().unwrap()), &path, "commit");
    assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{}", text(&output.stdout));
    assert!(journal(&path).exists());
    assert_eq!(std::fs::read(&path).unwrap(), [b'.'; LEN]);
    path
}

fn under_mapback(tracker: TrackerKind, path: &Path, role: &str) -> Output {
    let mut run = mapback(&["run", "--maps", "all", "--tracker", tracker.name(), "--"]);
    run.arg(std::env::current_exe().unwrap());
    let output = start(run, path, role);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    output
}

#[test]
fn a_journal_is_replayed_before_anything_is_read() {
    for tracker in TrackerKind::ALL {
        for role in ["shared", "private"] {
            let dir = folder();
            let path = left_by_a_kill(dir.path());
            let shown = text(&under_mapback(tracker, &path, role).stdout);
            assert!(shown.contains("\nseen: committed committed\n"), "{tracker}, {role}: {shown}");
            let content = std::fs::read(&path).unwrap();
            assert_eq!((content.len(), &content[..10]), (LEN, &b"committed."[..]), "{tracker}, {role}");
            assert!(!journal(&path).exists(), "{tracker}, {role}");
        }
    }
}

#[test]
fn a_shared_map_of_the_crate_replays_it_too() {
    let dir = folder();
    let path = left_by_a_kill(dir.path());
    let map = MmapShared::map_shared(open(&path, true)).unwrap();
    assert_eq!(map[15_000].load(Ordering::Relaxed), b'c');
    assert!(!journal(&path).exists());
}

#[test]
fn a_journal_that_cannot_be_believed_keeps_the_file_from_being_mapped() {
    let dir = folder();
    let path = left_by_a_kill(dir.path());
    let mut bytes = std::fs::read(journal(&path)).unwrap();
    bytes[20] ^= 1;
    std::fs::write(journal(&path), &bytes).unwrap();
    for role in ["shared", "private"] {
        let output = under_mapback(TrackerKind::WpAsync, &path, role);
        assert!(text(&output.stdout).contains("\nno map: Input/output error"), "{}", text(&output.stdout));
        let said = text(&output.stderr);
        assert!(said.contains("the journal is damaged at byte 0") && said.contains("backup"), "{said}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), [b'.'; LEN]);
    assert_eq!(std::fs::read(journal(&path)).unwrap(), bytes, "it is left as it is");
}

#[test]
fn a_journal_that_a_stranger_may_have_written_is_left_out_of_account() {
    let dir = folder();
    let path = left_by_a_kill(dir.path());
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(journal(&path), Permissions::from_mode(0o646)).unwrap();
    let output = under_mapback(TrackerKind::WpAsync, &path, "shared");
    assert!(text(&output.stdout).contains("\nseen: ......... ........."), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("is left out of account"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(&path).unwrap(), [b'.'; LEN]);
    assert!(journal(&path).exists());
}

#[test]
fn a_journal_in_use_keeps_writers_out_and_lets_readers_in() {
    let dir = folder();
    let path = file(dir.path());
    let mut map = MmapMut::map_mut(open(&path, true)).unwrap();
    map[..9].copy_from_slice(b"committed");
    map.flush_atomic().unwrap();
    let writer = under_mapback(TrackerKind::WpAsync, &path, "shared");
    assert!(text(&writer.stdout).contains("\nno map: Device or resource busy"), "{}", text(&writer.stdout));
    assert!(text(&writer.stderr).contains("in use"), "{}", text(&writer.stderr));
    let reader = text(&under_mapback(TrackerKind::WpAsync, &path, "private").stdout);
    assert!(reader.contains("\nseen: ......... ........."), "{reader}");
    map.close().unwrap();
    let reader = text(&under_mapback(TrackerKind::WpAsync, &path, "private").stdout);
    assert!(reader.contains("\nseen: committed ........."), "{reader}");
}
