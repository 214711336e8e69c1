//! Attacks on the unpacking: everything that somebody could have laid in its way beforehand.

use super::*;
use std::os::unix::fs::symlink;

const FILE: &str = "libmapback_preload-0.so";
const CONTENT: &[u8] = b"\x7fELF the interposer";

/// A base folder as a user's cache is. Below /tmp, so that the sticky folder above it is seen, too.
fn base() -> TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o700)).unwrap();
    base
}

fn unpack(base: &Path) -> Result<PathBuf, String> {
    into(base, FILE, CONTENT)
}

#[track_caller]
fn assert_good(path: &Path) {
    let meta = path.symlink_metadata().unwrap();
    assert!(meta.is_file());
    assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o400, 1));
    assert_eq!(fs::read(path).unwrap(), CONTENT);
    let folder = path.parent().unwrap();
    assert_eq!(folder.metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "no temporary file stays behind");
}

/// The folder and the file's place in it, for a test to spoil.
fn folder(base: &Path) -> PathBuf {
    let folder = base.join(FOLDER);
    DirBuilder::new().mode(0o700).create(&folder).unwrap();
    folder.join(FILE)
}

#[test]
fn unpacks_once_and_finds_it_again() {
    let base = base();
    let path = unpack(&base.path().join("not/there/yet")).unwrap();
    assert_good(&path);
    let first = path.metadata().unwrap();
    assert_eq!(unpack(&base.path().join("not/there/yet")).unwrap(), path);
    assert_eq!(path.metadata().unwrap().ino(), first.ino());
}

#[test]
fn a_truncated_or_changed_copy_is_replaced() {
    for spoiled in [&CONTENT[..5], b"", b"\x7fELF another library"] {
        let base = base();
        let path = folder(base.path());
        fs::write(&path, spoiled).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_good(&unpack(base.path()).unwrap());
    }
}

#[test]
fn a_copy_that_others_may_change_is_replaced() {
    let base = base();
    let path = folder(base.path());
    for mode in [0o666, 0o604, 0o4400] {
        let _ = fs::remove_file(&path);
        fs::write(&path, CONTENT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_good(&unpack(base.path()).unwrap());
    }
}

#[test]
fn a_link_in_the_files_place_is_replaced_and_its_target_left_alone() {
    let base = base();
    let path = folder(base.path());
    let target = base.path().join("target");
    fs::write(&target, "precious").unwrap();
    symlink(&target, &path).unwrap();
    assert_good(&unpack(base.path()).unwrap());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");

    // A hard link to a file of ours: equal content does not help.
    fs::write(&target, CONTENT).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o400)).unwrap();
    fs::remove_file(&path).unwrap();
    fs::hard_link(&target, &path).unwrap();
    assert_good(&unpack(base.path()).unwrap());
}

#[test]
fn a_fifo_in_the_files_place_does_not_hang() {
    let base = base();
    let path = folder(base.path());
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_good(&unpack(base.path()).unwrap());
}

#[test]
fn a_directory_in_the_files_place_is_an_error() {
    let base = base();
    let path = folder(base.path());
    fs::create_dir(&path).unwrap();
    let why = unpack(base.path()).unwrap_err();
    assert!(why.contains(FILE), "{why}");
    assert_eq!(fs::read_dir(base.path().join(FOLDER)).unwrap().count(), 1);
}

#[test]
fn a_folder_that_is_not_ours_alone_is_refused() {
    for mode in [0o755, 0o770, 0o777, 0o1777, 0o2700] {
        let base = base();
        let path = folder(base.path());
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(mode)).unwrap();
        let why = unpack(base.path()).unwrap_err();
        assert!(why.contains("not 0700"), "{mode:o}: {why}");
        assert!(!path.exists());
    }
}

#[test]
fn a_link_in_the_folders_place_is_refused() {
    let (base, other) = (base(), base());
    symlink(other.path(), base.path().join(FOLDER)).unwrap();
    unpack(base.path()).unwrap_err();
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn a_base_or_a_parent_that_others_can_write_to_is_refused() {
    let base = base();
    let inner = base.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for (open, mode) in [(&inner, 0o777), (&inner, 0o1777), (&base.path().to_owned(), 0o777)] {
        fs::set_permissions(open, fs::Permissions::from_mode(mode)).unwrap();
        let why = unpack(&inner).unwrap_err();
        assert!(why.contains("others can write"), "{why}");
        fs::set_permissions(open, fs::Permissions::from_mode(0o700)).unwrap();
    }
    assert_good(&unpack(&inner).unwrap());
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    // The other way round, so that it takes no privilege: the files are ours and somebody else unpacks.
    let somebody = us() + 1;
    let base = base();
    let path = folder(base.path());
    assert!(into_as(somebody, base.path(), FILE, CONTENT).unwrap_err().contains("another user"));
    assert!(!path.exists());

    unpack(base.path()).unwrap();
    let handle = OwnedFd::from(File::open(path.parent().unwrap()).unwrap());
    assert!(is_there(us(), &handle, FILE, CONTENT));
    assert!(!is_there(somebody, &handle, FILE, CONTENT));
    private(us(), &handle).unwrap();
    private(somebody, &handle).unwrap_err();
}

#[test]
fn a_path_that_the_dynamic_linker_would_split_is_refused() {
    let base = base();
    for name in ["with space", "with:colon", "with$ORIGIN"] {
        let why = unpack(&base.path().join(name)).unwrap_err();
        assert!(why.contains("LD_PRELOAD"), "{why}");
    }
}

#[test]
fn a_temporary_copy_is_private_and_goes_away() {
    let (folder, path) = into_temporary(FILE, CONTENT).unwrap();
    assert_good(&path);
    let gone = folder.path().to_owned();
    drop(folder);
    assert!(!gone.exists());
}
