//! Tests in processes of their own, on Windows.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

const NAME: &str = "MAPBACK_CLAUSE";
const SCRATCH: &str = "MAPBACK_CLAUSE_SCRATCH";

/// A test that hangs ends after this many seconds, so that the suite does.
const WATCHDOG: u64 = 120;

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
        $crate::process::split($crate::test_path!())
    };
}

/// Cuts the crate's name and the marker function off `name_of_here`.
pub fn test_path(name_of_here: &'static str) -> &'static str {
    let inner = name_of_here.strip_suffix("::here").unwrap_or(name_of_here);
    inner.split_once("::").map_or(inner, |(_, path)| path)
}

/// How a test's own process has ended. Its directory is there until this is dropped.
pub struct Ended {
    /// The exit status
    pub status: ExitStatus,
    /// What it printed on standard output and error
    pub output: String,
    scratch: TempDir,
}

impl Ended {
    /// The directory in which the process made its files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Panics, showing the process's output, unless its one test has run and passed.
    #[track_caller]
    pub fn assert_passed(&self) {
        let passed = self.status.success() && self.output.contains("test result: ok. 1 passed");
        assert!(passed, "the test's process ended with {}\n{}", self.status, self.output);
        crate::apply::pass_on(&self.output);
    }
}

/// See [`split_process!`](crate::split_process).
pub fn split(name: &'static str) -> Option<Ended> {
    if std::env::var(NAME).is_ok_and(|running| running == name) {
        start_watchdog();
        return None;
    }
    let base = std::env::var_os("MAPBACK_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let scratch = tempfile::Builder::new().prefix("clause-").tempdir_in(&base);
    let scratch = scratch.unwrap_or_else(|error| {
        panic!("no directory for the test in {}: {error}; set MAPBACK_TEST_DIR to one", base.display())
    });
    let output = Command::new(std::env::current_exe().expect("the test binary's path"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(NAME, name)
        .env(SCRATCH, scratch.path())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .expect("starting the test binary once more");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Some(Ended { status: output.status, output: text, scratch })
}

/// The directory in which a test makes its files.
pub fn scratch() -> PathBuf {
    PathBuf::from(std::env::var_os(SCRATCH).expect("own_process!() at the test's head"))
}

fn tracker_is(name: &str) -> bool {
    std::env::var("MAPBACK_TRACKER").is_ok_and(|tracker| tracker == name)
}

/// Whether mapback's `whole` tracker is in use, which does not know what has changed.
pub fn tracked_as_whole() -> bool {
    tracker_is("whole")
}

/// Whether maps are this process's alone, so that a file can be mapped shared once only.
pub fn maps_are_alone() -> bool {
    tracker_is("write-watch")
}

fn start_watchdog() {
    std::thread::spawn(|| {
        std::thread::sleep(std::time::Duration::from_secs(WATCHDOG));
        eprintln!("the watchdog: the test hung");
        std::process::abort();
    });
}

const ROLE: &str = "MAPBACK_CLAUSE_ROLE";

/// The part that this process plays in its test, if it was started by [`Other::start`].
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Another process of the same test, which goes on step by step.
pub struct Other {
    child: std::process::Child,
    lines: std::io::BufReader<std::process::ChildStdout>,
}

impl Other {
    /// Starts it; `role` says which part of the test it runs.
    pub fn start(test: &'static str, role: &str) -> Other {
        let mut child = Command::new(std::env::current_exe().expect("the test binary's path"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting the test binary once more");
        let lines = std::io::BufReader::new(child.stdout.take().expect("piped"));
        Other { child, lines }
    }

    /// Waits until the other has come to [`arrive`] with this word.
    #[track_caller]
    pub fn wait_for(&mut self, word: &str) {
        use std::io::BufRead;
        let wanted = format!("at {word}");
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.lines.read_line(&mut line).expect("the other's output");
            assert_ne!(read, 0, "the other process ended before it came to {word}");
            // The test runner may have begun the line.
            if line.trim_end().ends_with(&wanted) {
                return;
            }
        }
    }

    /// Lets the other go on.
    pub fn go_on(&mut self) {
        use std::io::Write;
        self.child.stdin.as_mut().expect("piped").write_all(b"!\n").expect("the other waits");
    }

    /// Kills it where it is.
    pub fn kill(mut self) {
        self.child.kill().expect("TerminateProcess");
        self.child.wait().expect("its end");
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub fn assert_good(mut self) {
        use std::io::Read;
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("the other's output");
        let status = self.child.wait().expect("its end");
        assert!(status.success(), "the other process ended with {status}: {rest}");
    }
}

/// Tells whoever started this process where it is, and waits until it may go on.
pub fn arrive(word: &str) {
    println!("\nat {word}");
    std::io::stdin().read_line(&mut String::new()).expect("the word to go on");
}
