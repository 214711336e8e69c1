//! The `mapback-directio` program: it says when it is ready, and never leaves a mount behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mapback_testkit::DirectIoMount;
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mapback-directio");

struct Served {
    source: tempfile::TempDir,
    mountpoint: tempfile::TempDir,
    server: Child,
}

fn serve(options: &[&str]) -> Served {
    let (source, mountpoint) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut command = Command::new(PROGRAM);
    command.args(options).args([source.path(), mountpoint.path()]);
    let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
    wait_until_ready(server.stdout.take().unwrap());
    assert!(is_mounted(mountpoint.path()));
    Served { source, mountpoint, server }
}

fn wait_until_ready(output: impl Read) {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
}

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

fn signal(server: &Child, signal: Signal) {
    kill_process(Pid::from_child(server), signal).unwrap();
}

#[test]
fn ends_cleanly_on_sigterm_and_sigint() {
    for ending in [Signal::TERM, Signal::INT] {
        let mut served = serve(&[]);
        signal(&served.server, ending);
        assert!(served.server.wait().unwrap().success());
        assert!(!is_mounted(served.mountpoint.path()));
    }
}

#[test]
fn ends_cleanly_when_unmounted_from_outside() {
    let mut served = serve(&[]);
    rustix::mount::unmount(served.mountpoint.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    assert!(served.server.wait().unwrap().success());
}

#[test]
fn is_detached_when_still_in_use() {
    let mut served = serve(&[]);
    let file = fs::File::create(served.mountpoint.path().join("file")).unwrap();
    signal(&served.server, Signal::TERM);
    assert!(served.server.wait().unwrap().success());
    assert!(!is_mounted(served.mountpoint.path()));
    assert!(file.metadata().is_err());
}

#[test]
fn ends_with_its_parent() {
    let (source, mountpoint) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The shell starts the server in the background, waits for a line of ours, and ends.
    let mut parent = Command::new("/bin/sh")
        .args(["-c", "\"$0\" \"$1\" \"$2\" & read line", PROGRAM])
        .args([source.path(), mountpoint.path()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(parent.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    drop(parent.stdin.take());
    parent.wait().unwrap();
    // The output ends when the last process that writes to it is gone: the server.
    assert_eq!(output.read_line(&mut line).unwrap(), 0);
    assert!(!is_mounted(mountpoint.path()));
}

#[test]
fn sigusr1_heals_a_fault_given_on_the_command_line() {
    let mut served = serve(&["--fail-write", "EDQUOT:after=3"]);
    let path = served.mountpoint.path().join("file");
    assert_eq!(fs::write(&path, "12345").unwrap_err().raw_os_error(), Some(libc::EDQUOT));
    assert_eq!(fs::read(served.source.path().join("file")).unwrap(), b"123");
    signal(&served.server, Signal::USR1);
    // The signal takes effect when its thread runs; until then writes are still refused.
    while fs::write(&path, "12345").is_err() {
        std::thread::yield_now();
    }
    assert_eq!(fs::read(served.source.path().join("file")).unwrap(), b"12345");
    signal(&served.server, Signal::TERM);
    assert!(served.server.wait().unwrap().success());
}

#[test]
fn refuses_a_mount_point_inside_the_source() {
    let source = tempfile::tempdir().unwrap();
    let inside = source.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let output = Command::new(PROGRAM).args([source.path(), &inside]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(message.contains("choose a mount point outside"), "{message}");
}

#[test]
fn a_mount_whose_server_was_killed_is_cleared_away() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "kept").unwrap();
    let mount = DirectIoMount::new(source.path()).unwrap();
    let path = mount.path().to_owned();
    kill_process(Pid::from_raw(mount.server_pid() as i32).unwrap(), Signal::KILL).unwrap();
    drop(mount);
    assert!(!path.exists());
    assert!(source.path().join("file").exists());
}

#[test]
fn a_dead_mount_can_be_mounted_over() {
    let mut served = serve(&[]);
    served.server.kill().unwrap();
    served.server.wait().unwrap();
    assert!(is_mounted(served.mountpoint.path()));
    let mut command = Command::new(PROGRAM);
    command.args([served.source.path(), served.mountpoint.path()]).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    wait_until_ready(server.stdout.take().unwrap());
    assert!(fs::read_dir(served.mountpoint.path()).unwrap().next().is_none());
    signal(&server, Signal::TERM);
    assert!(server.wait().unwrap().success());
    assert!(!is_mounted(served.mountpoint.path()));
}
