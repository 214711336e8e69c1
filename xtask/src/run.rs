//! Running one process: in a process group of its own, with a time limit, its output in a log.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// How many lines of a failed program's output are shown; the log has them all.
const TAIL_LINES: usize = 40;

/// Lines by which test runners close; they are repeated on stdout.
const CLOSING_LINES: [&str; 3] = ["test result: ", "Tests result: ", "All operations completed"];

fn interrupted() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Arc::default)
}

/// From now on Ctrl-C and SIGTERM end the running process and let mounts be undone; a second one ends xtask at once.
pub(crate) fn watch_for_interrupts() {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let flag = interrupted();
        let registered = signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())
            .and_then(|_| signal_hook::flag::register(signal, flag.clone()));
        if let Err(error) = registered {
            eprintln!(
                "xtask: cannot watch for signal {signal}: {error}; after Ctrl-C mounts may stay behind"
            );
        }
    }
}

/// Whether Ctrl-C or SIGTERM came.
pub(crate) fn is_interrupted() -> bool {
    interrupted().load(Ordering::Relaxed)
}

/// Where a stage's programs leave their output.
pub(crate) struct Log {
    path: PathBuf,
    file: Mutex<File>,
    parts: AtomicU32,
    closing: Mutex<Vec<String>>,
}

impl Log {
    pub(crate) fn create(dir: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(format!("{name}.log"));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, file: file.into(), parts: 0.into(), closing: Mutex::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The runners' closing lines since the last call.
    pub(crate) fn take_closing_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.closing.lock().unwrap())
    }

    /// Processes may run side by side: each writes to a part of its own, which is appended when it has ended.
    fn part(&self) -> PathBuf {
        let n = self.parts.fetch_add(1, Ordering::Relaxed);
        self.path.with_extension(format!("part{n}"))
    }

    fn append(&self, text: &str) -> Result<()> {
        let mut file = self.file.lock().unwrap();
        file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// A process to run. Its stdin is empty.
#[derive(Clone)]
pub(crate) struct Cmd {
    argv: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    limit: Duration,
    stdout_apart: bool,
}

/// How a process ended.
pub(crate) struct Done {
    pub(crate) command: String,
    pub(crate) status: ExitStatus,
    /// Everything it printed: stdout and stderr in the order in which they came.
    pub(crate) output: String,
    /// Its stdout, if asked for by [`Cmd::stdout_apart`].
    pub(crate) stdout: String,
}

impl Cmd {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![program.as_ref().to_owned()],
            envs: Vec::new(),
            cwd: None,
            limit: Duration::from_secs(60),
            stdout_apart: false,
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// The time after which the process is killed and counts as failed.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) fn stdout_apart(mut self) -> Self {
        self.stdout_apart = true;
        self
    }

    /// The same process started by another: `wrapper… -- program args…` keeps directory, environment and limit.
    pub(crate) fn wrapped_by(mut self, wrapper: impl IntoIterator<Item = OsString>) -> Self {
        self.argv.splice(0..0, wrapper);
        self
    }

    /// The process, ready to be started in a process group of its own, free of mapback's own variables.
    pub(crate) fn to_command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).stdin(Stdio::null()).process_group(0);
        for (name, _) in std::env::vars_os() {
            if name == "LD_PRELOAD" || name.as_encoded_bytes().starts_with(b"MAPBACK_") {
                command.env_remove(name);
            }
        }
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        command
    }

    /// Runs the process to its end, whatever that is; fails if it cannot be started or runs out of time.
    pub(crate) fn run(&self, log: &Log) -> Result<Done> {
        let part = log.part();
        let stdout_part = part.with_extension("stdout");
        let file = File::create(&part).with_context(|| format!("cannot create {}", part.display()))?;
        let stdout = if self.stdout_apart { File::create(&stdout_part) } else { file.try_clone() };
        let mut command = self.to_command();
        command.stdout(stdout.context("cannot open a file for the output")?).stderr(file);

        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {self}"))?;
        let ended = wait(&mut child, self.limit);
        let elapsed = start.elapsed();

        let output = read_lossy(&part);
        let stdout = if self.stdout_apart { read_lossy(&stdout_part) } else { String::new() };
        let end = match &ended {
            Ok(status) => how(*status),
            Err(error) => format!("{error:#}"),
        };
        log.append(&format!("$ {self}\n{output}[{end} after {:.2} s]\n\n", elapsed.as_secs_f64()))?;
        let _ = fs::remove_file(&part);
        let _ = fs::remove_file(&stdout_part);

        let status = ended.map_err(|error| anyhow!("{self}: {error:#}\n{}", tail(&output)))?;
        Ok(Done { command: self.to_string(), status, output, stdout })
    }

    /// Runs the process; anything but exit status 0 is an error that shows the tail of its output.
    pub(crate) fn run_ok(&self, log: &Log) -> Result<Done> {
        let done = self.run(log)?;
        let closing =
            done.output.lines().filter(|l| CLOSING_LINES.iter().any(|c| l.trim_start().starts_with(c)));
        log.closing.lock().unwrap().extend(closing.map(|line| line.trim_start().to_owned()));
        if !done.status.success() {
            bail!("{}: {}\n{}", done.command, how(done.status), tail(&done.output));
        }
        Ok(done)
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.envs {
            write!(f, "{}={} ", name.display(), value.display())?;
        }
        let words: Vec<_> = self.argv.iter().map(|arg| arg.to_string_lossy()).collect();
        f.write_str(&words.join(" "))
    }
}

/// Waits for the end of `child`, and kills its whole process group when `limit` has passed or Ctrl-C came.
fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the process")? {
            return Ok(status);
        }
        let late = start.elapsed() > limit;
        if late || is_interrupted() {
            kill_group(child);
            bail!(if late {
                format!("killed: still running after {} s", limit.as_secs())
            } else {
                "interrupted".into()
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills a child started by [`Cmd::to_command`] with all that it started, and waits for it.
pub(crate) fn kill_group(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// How a process ended, in words.
pub(crate) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no exit status".into(),
    }
}

/// The last lines of `output`, indented.
pub(crate) fn tail(output: &str) -> String {
    let lines: Vec<_> = output.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("    | {line}")).collect::<Vec<_>>().join("\n")
}

fn read_lossy(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(dir.path(), "test").unwrap();
        (dir, log)
    }

    #[test]
    fn a_process_that_fails_is_an_error_with_its_output() {
        let (_dir, log) = log();
        let error = Cmd::new("sh").args(["-c", "echo why; exit 3"]).run_ok(&log).err().unwrap().to_string();
        assert!(error.contains("exit status 3") && error.contains("| why"), "{error}");
        let log = read_lossy(log.path());
        assert!(log.contains("why\n[exit status 3"), "{log}");
    }

    #[test]
    fn a_process_that_runs_too_long_is_killed_with_its_children() {
        let (_dir, log) = log();
        let cmd = Cmd::new("sh").args(["-c", "sleep 600 & echo $!; wait"]).limit(Duration::from_millis(500));
        let error = cmd.run(&log).err().unwrap().to_string();
        assert!(error.contains("killed: still running"), "{error}");
        let child: i32 = error.rsplit("| ").next().unwrap().trim().parse().unwrap();
        let lives = || {
            let stat = read_lossy(Path::new(&format!("/proc/{child}/stat")));
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let start = Instant::now();
        while lives() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!lives(), "the child {child} lives");
    }

    #[test]
    fn closing_lines_are_those_of_processes_that_had_to_succeed() {
        let (_dir, log) = log();
        let cmd = Cmd::new("echo").arg("test result: ok. 1 passed");
        cmd.run(&log).unwrap();
        assert_eq!(log.take_closing_lines(), Vec::<String>::new());
        cmd.run_ok(&log).unwrap();
        assert_eq!(log.take_closing_lines(), ["test result: ok. 1 passed"]);
    }
}
