//! Tests in processes of their own, and processes within tests.
//!
//! Each test starts the test binary once more for itself alone: no neighbour maps memory into a hole that it looks at,
//! handlers and limits are its own, and a crash fails this test and no other. The environment is inherited, so an
//! interposer stays in place.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

const NAME: &str = "MAPBACK_CLAUSE";
const SCRATCH: &str = "MAPBACK_CLAUSE_SCRATCH";

/// A test that hangs is killed after this many seconds, so that the suite ends.
const WATCHDOG: u32 = 120;

/// The name of the test that this stands in, as the test harness knows it.
#[macro_export]
macro_rules! test_path {
    () => {{
        fn here() {}
        $crate::process::test_path(::std::any::type_name_of_val(&here))
    }};
}

/// Runs the rest of the test in a process of its own, which must end well.
#[macro_export]
macro_rules! own_process {
    () => {
        if let Some(ended) = $crate::split_process!() {
            return ended.assert_passed();
        }
    };
}

/// `None` in the test's own process, which is to go on; in the harness's, how the own one has ended.
#[macro_export]
macro_rules! split_process {
    () => {
        $crate::process::split($crate::test_path!(), env!("CARGO_TARGET_TMPDIR"), false)
    };
}

/// As [`split_process!`], but the own process runs under `mapback run --maps auto`.
#[macro_export]
macro_rules! split_under_mapback {
    () => {
        $crate::process::split($crate::test_path!(), env!("CARGO_TARGET_TMPDIR"), true)
    };
}

/// Cuts the crate's name and the marker function off `name_of_here`.
pub fn test_path(name_of_here: &'static str) -> &'static str {
    let inner = name_of_here.strip_suffix("::here").unwrap_or(name_of_here);
    inner.split_once("::").map_or(inner, |(_, path)| path)
}

/// How a test's own process has ended. Its directory is there until this is dropped.
pub struct Ended {
    /// The wait status
    pub status: ExitStatus,
    /// What it printed on standard output and error
    pub output: String,
    scratch: TempDir,
    _images: Option<TempDir>,
}

impl Ended {
    /// The directory in which the process made its files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Panics, showing the process's output, unless its one test has run and passed.
    #[track_caller]
    pub fn assert_passed(&self) {
        let hint = match self.status.signal() {
            Some(libc::SIGALRM) => ", the watchdog: it hung",
            Some(_) => ", a crash",
            None => "",
        };
        let passed = self.status.success() && self.output.contains("test result: ok. 1 passed");
        assert!(passed, "the test's process ended with {}{hint}\n{}", self.status, self.output);
        crate::apply::pass_on(&self.output);
    }
}

/// See [`split_process!`](crate::split_process).
pub fn split(name: &'static str, target_dir: &str, needs_mapback: bool) -> Option<Ended> {
    if std::env::var(NAME).is_ok_and(|running| running == name) {
        start_watchdog();
        return None;
    }
    let base = std::env::var_os("MAPBACK_TEST_DIR").map_or_else(|| PathBuf::from(target_dir), PathBuf::from);
    let scratch = tempfile::Builder::new().prefix("clause-").tempdir_in(&base);
    let scratch = scratch.unwrap_or_else(|error| {
        panic!("no directory for the test in {}: {error}; set MAPBACK_TEST_DIR to one", base.display())
    });
    assert_no_tmpfs(scratch.path());
    let mut command = this_test(name);
    let mut images = None;
    if needs_mapback && !under_mapback() {
        command = run_by_mapback(&command);
        // A file system that is mounted for a test, and its files, have the numbers of others that are gone: what was
        // left of those must not be found.
        let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let made = tempfile::Builder::new().prefix("mapback-images-").permissions(own).tempdir_in("/dev/shm");
        let made = made.unwrap_or_else(|error| panic!("no directory in /dev/shm: {error}"));
        command.env("MAPBACK_SHARED_DIR", made.path());
        images = Some(made);
    }
    let output = command
        .env(NAME, name)
        .env(SCRATCH, scratch.path())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .expect("starting the test binary once more");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Some(Ended { status: output.status, output: text, scratch, _images: images })
}

/// The command that runs this binary's test `name` alone.
fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary's path"));
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command
}

/// The same command by `mapback run`: the program that `MAPBACK_PROGRAM` names, or the one of this build.
fn run_by_mapback(command: &Command) -> Command {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("mapback"));
    let program = std::env::var_os("MAPBACK_PROGRAM").map(PathBuf::from).or_else(beside).unwrap_or_default();
    let shown = program.display();
    assert!(
        program.exists(),
        "{shown} does not exist: run `cargo build`, or name mapback in MAPBACK_PROGRAM"
    );
    let mut wrapped = Command::new(&program);
    wrapped.args(["run", "--maps", "auto"]);
    if let Some(tracker) = std::env::var_os("MAPBACK_TRACKER") {
        wrapped.arg("--tracker").arg(tracker);
    }
    wrapped.arg("--").arg(command.get_program()).args(command.get_args());
    wrapped
}

/// The directory in which a test makes its files.
pub fn scratch() -> PathBuf {
    PathBuf::from(std::env::var_os(SCRATCH).expect("own_process!() at the test's head"))
}

/// Whether mapback's interposer is loaded. Only for what docs/semantics.md says is different on purpose.
pub fn under_mapback() -> bool {
    std::env::var("LD_PRELOAD").is_ok_and(|list| list.contains("mapback_preload"))
}

/// Whether mapback's `whole` tracker is in use, which does not know what has changed.
pub fn tracked_as_whole() -> bool {
    under_mapback() && std::env::var("MAPBACK_TRACKER").is_ok_and(|tracker| tracker == "whole")
}

/// Whether mapback's `fault` tracker is in use, which needs SIGSEGV to be open at all times.
pub fn tracked_by_faults() -> bool {
    under_mapback() && std::env::var("MAPBACK_TRACKER").is_ok_and(|tracker| tracker == "fault")
}

/// Whether maps are this process's alone, so that a file can be mapped shared once only: a choice on Windows.
pub fn maps_are_alone() -> bool {
    false
}

/// Lets SIGALRM kill this process if it hangs.
fn start_watchdog() {
    // SAFETY: alarm takes a number; nobody handles SIGALRM.
    unsafe { libc::alarm(WATCHDOG) };
}

/// mapback leaves maps of tmpfs files to the kernel, so a test there would test nothing.
fn assert_no_tmpfs(path: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL");
    let mut found = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the name ends in NUL, and the struct is plain data that the call fills.
    let kind = unsafe {
        assert_eq!(libc::statfs(name.as_ptr(), found.as_mut_ptr()), 0, "statfs of {}", path.display());
        found.assume_init().f_type
    };
    let path = path.display();
    assert_ne!(kind, libc::TMPFS_MAGIC, "{path} is on tmpfs; set MAPBACK_TEST_DIR to a directory on a disk");
}

/// How a forked child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// A forked child that has not been waited for.
pub struct Forked(libc::pid_t);

/// Forks. The child runs `body` and ends by `_exit`: 0 if it returned true, else 1, or 101 if it panicked.
pub fn fork(body: impl FnOnce() -> bool) -> Forked {
    // SAFETY: the child has this thread alone, and glibc lets it allocate; it never returns from here.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        start_watchdog();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        let code = result.map_or(101, |good| i32::from(!good));
        // SAFETY: ends the process at once, as a forked child of a threaded program must.
        unsafe { libc::_exit(code) };
    }
    Forked(pid)
}

impl Forked {
    /// Waits for its end.
    pub fn wait(self) -> Exit {
        let mut status = 0;
        // SAFETY: the pid is this process's child, waited for once.
        while unsafe { libc::waitpid(self.0, &mut status, 0) } != self.0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid: {error}");
        }
        if libc::WIFSIGNALED(status) {
            Exit::Signal(libc::WTERMSIG(status))
        } else {
            Exit::Code(libc::WEXITSTATUS(status))
        }
    }

    /// Waits, and panics unless the child's body returned true.
    #[track_caller]
    pub fn assert_good(self) {
        assert_eq!(self.wait(), Exit::Code(0), "the forked child failed");
    }
}

/// A gate between processes or threads: opened once, waited for once.
pub struct Gate {
    reader: std::io::PipeReader,
    writer: std::io::PipeWriter,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        Gate { reader, writer }
    }

    /// Lets the waiter through.
    pub fn open(&self) {
        use std::io::Write;
        (&self.writer).write_all(b"!").expect("opening the gate");
    }

    /// Waits until somebody opens.
    pub fn pass(&self) {
        use std::io::Read;
        (&self.reader).read_exact(&mut [0]).expect("waiting at the gate");
    }
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

/// Replaces this process by `program`.
pub fn exec(program: &str, args: &[&str]) -> std::io::Error {
    Command::new(program).args(args).exec()
}
