//! The direct_io mount refuses shared maps, and is an ordinary file system otherwise.

mod support;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};
use mapback_testkit::DirectIoMount;
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, RenameFlags};
use rustix::io::{Errno, ReadWriteFlags};
use support::{KernelMap, PAGE};

/// A source directory and a mount of it.
struct Fixture {
    mount: DirectIoMount,
    source: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let source = tempfile::tempdir().unwrap();
        let mount = DirectIoMount::new(source.path()).unwrap();
        Fixture { mount, source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    fn underlying(&self, name: &str) -> PathBuf {
        self.source.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> File {
        let path = self.path(name);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        file.write_all(content).unwrap();
        file
    }
}

#[test]
fn shared_maps_are_refused_and_private_ones_work() {
    let fixture = Fixture::new();
    let file = fixture.file("file", b"hello");
    for protection in [PROT_READ, PROT_READ | PROT_WRITE] {
        let refused = KernelMap::new(Some(&file), PAGE, protection, MAP_SHARED).err().unwrap();
        assert_eq!(refused.raw_os_error(), Some(libc::ENODEV));
    }
    let read_only = File::open(fixture.path("file")).unwrap();
    let refused = KernelMap::new(Some(&read_only), PAGE, PROT_READ, MAP_SHARED).err().unwrap();
    assert_eq!(refused.raw_os_error(), Some(libc::ENODEV));

    let private = KernelMap::new(Some(&file), PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE).unwrap();
    // SAFETY: the map is five bytes of file and zeroes, and ours alone.
    unsafe {
        assert_eq!(std::slice::from_raw_parts(private.start, 6), b"hello\0");
        private.start.write(b'J');
    }
    assert_eq!(fs::read(fixture.path("file")).unwrap(), b"hello");
}

#[test]
fn changes_are_seen_at_once_both_ways() {
    let fixture = Fixture::new();
    let file = fixture.file("file", b"one");
    assert_eq!(fs::read(fixture.underlying("file")).unwrap(), b"one");
    fs::write(fixture.underlying("file"), b"longer").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 6);
    assert_eq!(fs::read(fixture.path("file")).unwrap(), b"longer");
    fs::rename(fixture.underlying("file"), fixture.underlying("other")).unwrap();
    assert!(!fixture.path("file").exists());
    assert_eq!(fs::read(fixture.path("other")).unwrap(), b"longer");
}

#[test]
fn a_file_keeps_its_identity() {
    let fixture = Fixture::new();
    let file = fixture.file("file", b"content");
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let first = identity(file.metadata().unwrap());
    assert_eq!(first.1, fs::metadata(fixture.underlying("file")).unwrap().ino());

    fs::hard_link(fixture.path("file"), fixture.path("link")).unwrap();
    fs::rename(fixture.path("file"), fixture.path("renamed")).unwrap();
    for name in ["link", "renamed"] {
        let metadata = fs::metadata(fixture.path(name)).unwrap();
        assert_eq!(metadata.nlink(), 2);
        assert_eq!(identity(metadata), first);
    }
    fs::remove_file(fixture.path("link")).unwrap();
    fs::remove_file(fixture.path("renamed")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(identity(file.metadata().unwrap()), first);
    // The number stays taken as long as the file is open.
    for number in 0..50 {
        let other = fixture.file(&format!("other{number}"), b"");
        assert_ne!(identity(other.metadata().unwrap()), first);
    }
}

#[test]
fn an_unlinked_file_stays_usable() {
    let fixture = Fixture::new();
    let file = fixture.file("file", b"content");
    fs::remove_file(fixture.path("file")).unwrap();
    assert!(!fixture.underlying("file").exists());
    file.write_all_at(b"C", 0).unwrap();
    file.set_len(4).unwrap();
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    let mut content = [0; 4];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"Cont");
    let again = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).unwrap();
    assert_eq!(again.metadata().unwrap().len(), 4);
}

#[test]
fn open_flags_mean_what_they_say() {
    let fixture = Fixture::new();
    let path = fixture.path("file");
    fixture.file("file", b"0123456789");
    let refused = OpenOptions::new().write(true).create_new(true).open(&path).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EEXIST));
    let write_only = OpenOptions::new().write(true).open(&path).unwrap();
    assert_eq!(write_only.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert_eq!(File::open(&path).unwrap().write_at(&[0], 0).unwrap_err().raw_os_error(), Some(libc::EBADF));
    for flag in [libc::O_DIRECT, libc::O_SYNC, libc::O_NOATIME] {
        let mut file = OpenOptions::new().read(true).custom_flags(flag).open(&path).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "0123456789", "flag {flag:#o}");
    }
    OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    assert_eq!(fs::metadata(fixture.underlying("file")).unwrap().len(), 0);
}

#[test]
fn appends_go_to_the_end_and_noappend_writes_do_not() {
    let fixture = Fixture::new();
    fixture.file("file", b"abc");
    let mut file = OpenOptions::new().read(true).append(true).open(fixture.path("file")).unwrap();
    file.write_all(b"def").unwrap();
    // As the kernel does elsewhere: a positioned write to an O_APPEND descriptor appends.
    file.write_at(b"ghi", 0).unwrap();
    let noappend = ReadWriteFlags::from_bits_retain(0x20);
    rustix::io::pwritev2(&file, &[IoSlice::new(b"X")], 1, noappend).unwrap();
    assert_eq!(fs::read(fixture.underlying("file")).unwrap(), b"aXcdefghi");
}

#[test]
fn truncates_through_descriptor_and_path() {
    let fixture = Fixture::new();
    let file = fixture.file("file", b"0123456789");
    file.set_len(4).unwrap();
    assert_eq!(fs::read(fixture.path("file")).unwrap(), b"0123");
    let resize = |name: &Path, len| OpenOptions::new().write(true).open(name).unwrap().set_len(len).unwrap();
    resize(&fixture.path("file"), 6);
    assert_eq!(fs::read(fixture.underlying("file")).unwrap(), b"0123\0\0");
    let path = std::ffi::CString::new(fixture.path("file").to_str().unwrap()).unwrap();
    // SAFETY: a terminated string.
    assert_eq!(unsafe { libc::truncate(path.as_ptr(), 2) }, 0);
    assert_eq!(file.metadata().unwrap().len(), 2);
    // A descriptor outlives the permission that it was opened with.
    file.set_permissions(Permissions::from_mode(0o400)).unwrap();
    file.set_len(1).unwrap();
    assert_eq!(fs::read(fixture.underlying("file")).unwrap(), b"0");
}

#[test]
fn attributes_are_set_on_the_underlying_file() {
    let fixture = Fixture::new();
    let file = fixture.file("file", b"");
    file.set_permissions(Permissions::from_mode(0o4751)).unwrap();
    assert_eq!(fs::metadata(fixture.underlying("file")).unwrap().mode() & 0o7777, 0o4751);
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    file.set_modified(time).unwrap();
    let metadata = fs::metadata(fixture.underlying("file")).unwrap();
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 123_456_789));
    assert_eq!(file.metadata().unwrap().modified().unwrap(), time);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(fixture.path("file"), Some(12), Some(34)).unwrap();
        let metadata = fs::metadata(fixture.underlying("file")).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12, 34));
    }
}

#[test]
fn names_of_every_kind() {
    let fixture = Fixture::new();
    fixture.file("file", b"content");
    symlink("file", fixture.path("symlink")).unwrap();
    assert_eq!(fs::read_link(fixture.path("symlink")).unwrap(), Path::new("file"));
    assert_eq!(fs::read(fixture.path("symlink")).unwrap(), b"content");
    rustix::fs::mknodat(CWD, fixture.path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(fs::metadata(fixture.path("fifo")).unwrap().file_type().is_fifo());

    fs::create_dir(fixture.path("directory")).unwrap();
    fs::rename(fixture.path("file"), fixture.path("directory/file")).unwrap();
    let refused = fs::remove_dir(fixture.path("directory")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENOTEMPTY));
    fixture.file("new", b"new");
    let (new, old) = (fixture.path("new"), fixture.path("directory/file"));
    let refused = rustix::fs::renameat_with(CWD, &new, CWD, &old, RenameFlags::NOREPLACE);
    assert_eq!(refused, Err(Errno::EXIST));
    rustix::fs::renameat_with(CWD, &new, CWD, &old, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(&new).unwrap(), b"content");
    fs::remove_dir_all(fixture.path("directory")).unwrap();
    assert!(!fixture.underlying("directory").exists());
}

#[test]
fn lists_a_large_directory_once_each() {
    let fixture = Fixture::new();
    let mut expected: Vec<String> =
        (0..2000).map(|number| format!("a-rather-long-name-{number:05}")).collect();
    for name in &expected {
        File::create(fixture.underlying(name)).unwrap();
    }
    let mut listed = Vec::new();
    for entry in fs::read_dir(fixture.mount.path()).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.file_type().unwrap().is_file());
        listed.push(entry.file_name().into_string().unwrap());
    }
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn holes_and_allocation() {
    let fixture = Fixture::new();
    let mut file = fixture.file("file", b"");
    file.set_len(1 << 20).unwrap();
    file.write_all_at(b"data", 512 << 10).unwrap();
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)), Ok(512 << 10));
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(512 << 10)), Ok((512 << 10) + 4096));
    let beyond = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(2 << 20));
    assert_eq!(beyond, Err(Errno::NXIO));
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 1 << 20, 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (1 << 20) + 4096);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 512 << 10, 4096).unwrap();
    file.seek(SeekFrom::Start(512 << 10)).unwrap();
    let mut four = [1; 4];
    file.read_exact(&mut four).unwrap();
    assert_eq!(four, [0; 4]);
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    assert!(rustix::fs::statvfs(fixture.mount.path()).unwrap().f_blocks > 0);
}

#[test]
fn large_transfers_arrive_whole_from_many_threads() {
    let fixture = Fixture::new();
    let file = fixture.file("file", b"");
    let len = 5 << 20;
    thread::scope(|scope| {
        for part in 0..4_u8 {
            let file = &file;
            scope.spawn(move || {
                let content: Vec<u8> = (0..len).map(|at| (at % 251) as u8 ^ part).collect();
                file.write_all_at(&content, u64::from(part) * len as u64).unwrap();
                let mut back = vec![0; len];
                file.read_exact_at(&mut back, u64::from(part) * len as u64).unwrap();
                assert!(back == content, "part {part} differs");
            });
        }
    });
    assert_eq!(fs::metadata(fixture.underlying("file")).unwrap().len(), 4 * len as u64);
}

#[test]
fn the_kernel_checks_permissions_and_new_files_belong_to_their_maker() {
    if !rustix::process::geteuid().is_root() {
        // Without root there is no second user to be; then all files are ours and nothing is refused.
        let fixture = Fixture::new();
        assert_eq!(fixture.file("f", b"").metadata().unwrap().uid(), rustix::process::getuid().as_raw());
        return;
    }
    let fixture = Fixture::new();
    for open in [fixture.mount.path(), fixture.source.path()] {
        fs::set_permissions(open, Permissions::from_mode(0o777)).unwrap();
    }
    fixture.file("private", b"").set_permissions(Permissions::from_mode(0o600)).unwrap();
    let script =
        "umask 027; touch mine && mkdir directory && ln -s x link && ! cat private && ! touch private";
    let status = run_as_nobody(script, fixture.mount.path()).unwrap();
    assert!(status.success(), "{status}");
    for (name, mode) in [("mine", 0o640), ("directory", 0o750), ("link", 0o777)] {
        let metadata = fs::symlink_metadata(fixture.underlying(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (65534, 65534, mode), "{name}");
    }
}

fn run_as_nobody(script: &str, directory: &Path) -> io::Result<std::process::ExitStatus> {
    use std::os::unix::process::CommandExt;
    std::process::Command::new("/bin/sh")
        .args(["-c", script])
        .current_dir(directory)
        .stderr(std::process::Stdio::null())
        .uid(65534)
        .gid(65534)
        .status()
}
