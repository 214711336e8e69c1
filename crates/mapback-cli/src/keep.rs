//! The keeper: as long as the program runs, and as long as what it started does, what a killed process leaves is
//! written back, and so, from time to time, is what living ones changed.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mapback::keeper::{Found, Keeper, Standing};
use mapback::posix::Share;
use nix::sys::signal::SigSet;

use crate::failure::{Failure, say};

/// How often the keeper looks for processes that died.
const LOOK: Duration = Duration::from_millis(200);

/// Where images are shared, as the interposer finds it.
pub fn share() -> Share {
    let dir = std::env::var_os("MAPBACK_SHARED_DIR").filter(|dir| !dir.is_empty());
    dir.map_or(Share::Default, |dir: OsString| Share::In(dir.into()))
}

/// A keeper at work beside the program.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Begins. Signals are not for this thread.
    pub fn begin(flush_every: Option<Duration>) -> Option<Watch> {
        let (stop, stopped) = mpsc::channel();
        let keep = move || {
            if SigSet::all().thread_block().is_ok() {
                watch(flush_every, &|wait| stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout));
            }
        };
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(keep);
        match thread {
            Ok(thread) => Some(Watch { stop, thread }),
            Err(error) => {
                say(format!(
                    "cannot keep watch ({error}): what a killed process leaves waits for `mapback recover`"
                ));
                None
            }
        }
    }

    /// The program has ended: looks a last time. What it started and what still runs gets a keeper of its own.
    pub fn end(self, flush_every: Option<Duration>) {
        drop(self.stop);
        let _ = self.thread.join();
        if let Ok(mut keeper) = Keeper::new(&share(), |line| say(line))
            && settle(&mut keeper, &mut Vec::new()).iter().any(|found| found.processes > 0)
        {
            leave_behind(flush_every.unwrap_or_default());
        }
    }
}

/// Looks until `goes_on`, which waits, says no more.
fn watch(flush_every: Option<Duration>, goes_on: &dyn Fn(Duration) -> bool) {
    let mut keeper = match Keeper::new(&share(), |line| say(line)) {
        Ok(keeper) => keeper,
        Err(error) => return say(format!("cannot keep watch: {error}")),
    };
    let mut round = Round::new(flush_every);
    while goes_on(round.wait()) {
        round.go(&mut keeper);
    }
}

/// What a keeper does again and again.
struct Round {
    flush_every: Option<Duration>,
    flush_next: Instant,
    said: Vec<String>,
}

impl Round {
    /// Flushing takes at the most this part of the time.
    const SHARE: u32 = 20;

    fn new(flush_every: Option<Duration>) -> Round {
        Round { flush_every, flush_next: Instant::now() + flush_every.unwrap_or_default(), said: Vec::new() }
    }

    /// How long to wait before the next.
    fn wait(&self) -> Duration {
        let flush = self.flush_every.map(|_| self.flush_next.saturating_duration_since(Instant::now()));
        flush.unwrap_or(LOOK).clamp(Duration::from_millis(1), LOOK)
    }

    fn go(&mut self, keeper: &mut Keeper) -> Vec<Found> {
        let all = settle(keeper, &mut self.said);
        if let Some(every) = self.flush_every.filter(|_| Instant::now() >= self.flush_next) {
            let begun = Instant::now();
            for line in keeper.flush().unwrap_or_default() {
                say_once(&mut self.said, line);
            }
            self.flush_next = begun + every.max(begun.elapsed() * Self::SHARE);
        }
        all
    }
}

/// Settles what there is to settle; says what it could not, once each.
fn settle(keeper: &mut Keeper, said: &mut Vec<String>) -> Vec<Found> {
    let all = keeper.settle(&|_| true, false).unwrap_or_default();
    for found in &all {
        if let Standing::Failed(error) = found.standing {
            say_once(
                said,
                format!(
                    "cannot write {} back: {error}. It is kept for `mapback recover`",
                    found.path.display()
                ),
            );
        }
    }
    all
}

fn say_once(said: &mut Vec<String>, line: String) {
    if !said.contains(&line) {
        say(&line);
        said.push(line);
    }
}

/// Starts a keeper that outlives this process.
fn leave_behind(flush_every: Duration) {
    let Ok(program) = std::env::current_exe() else { return };
    let mut keep = Command::new(program);
    keep.arg("keep")
        .arg(format!("--flush-every={}ms", flush_every.as_millis()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    // SAFETY: setsid is a system call and nothing else.
    unsafe {
        keep.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    if let Err(error) = keep.spawn() {
        say(format!(
            "cannot leave a keeper behind ({error}): what a killed process leaves waits for `mapback recover`"
        ));
    }
}

/// `mapback keep`: watches until no process has an image. One for a directory is enough.
pub fn keep(flush_every: Option<Duration>) -> Result<ExitCode, Failure> {
    let mut keeper = open()?;
    let path = keeper.dir().join("keeper.lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(|e| Failure::own(format!("cannot open {}: {e}", path.display())))?;
    if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut round = Round::new(flush_every);
    while round.go(&mut keeper).iter().any(|found| found.processes > 0) {
        std::thread::sleep(round.wait());
    }
    Ok(ExitCode::SUCCESS)
}

fn open() -> Result<Keeper, Failure> {
    Keeper::new(&share(), |line| say(line)).map_err(|error| {
        Failure::own(format!("cannot open the directory of shared images: {error}. See MAPBACK_SHARED_DIR"))
    })
}

/// What `mapback recover` was asked to do.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "what", required = true, multiple = true)]
pub struct RecoverArgs {
    /// Tell of all images, and change nothing
    #[arg(long, conflicts_with_all = ["all", "force", "discard", "files"])]
    list: bool,
    /// Everything that is left behind
    #[arg(long, conflicts_with = "files")]
    all: bool,
    /// Overwrite what others changed since
    #[arg(long, conflicts_with = "discard")]
    force: bool,
    /// Throw what is left behind away instead of writing it back
    #[arg(long)]
    discard: bool,
    /// The files to write back
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
}

/// `mapback recover`.
pub fn recover(options: &RecoverArgs) -> Result<ExitCode, Failure> {
    let mut keeper = open()?;
    let failed = |error| Failure::own(format!("cannot read {}: {error}", share_name()));
    if options.list {
        show(&keeper.list().map_err(failed)?);
        return Ok(ExitCode::SUCCESS);
    }
    if !options.all && options.files.is_empty() {
        return Err(Failure::own("nothing to recover: name files, or give --all"));
    }
    let files: Vec<PathBuf> =
        options.files.iter().map(|file| file.canonicalize().unwrap_or_else(|_| file.clone())).collect();
    let chosen = |path: &Path| options.all || files.iter().any(|file| file == path);
    if options.discard {
        show(&keeper.discard_file(&chosen).map_err(failed)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut all = keeper.settle(&chosen, options.force).map_err(failed)?;
    let strays = keeper.list().map_err(failed)?.into_iter().filter(|found| found.standing == Standing::Stray);
    all.extend(strays.filter(|found| chosen(&found.path)));
    show(&all);
    let good = all.iter().all(|found| matches!(found.standing, Standing::Settled | Standing::InUse));
    Ok(ExitCode::from(u8::from(!good)))
}

fn share_name() -> String {
    match share() {
        Share::In(path) => path.display().to_string(),
        _ => "the directory of shared images".into(),
    }
}

/// A line for each image.
fn show(all: &[Found]) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if all.is_empty() {
        let _ = writeln!(out, "no images");
    }
    for found in all {
        let standing = match found.standing {
            Standing::InUse => "in use".to_owned(),
            Standing::LeftBehind => "left behind, not written back".to_owned(),
            Standing::Settled => "written back".to_owned(),
            Standing::Conflict => {
                "conflict: changed by others since; --force overwrites, --discard drops".to_owned()
            }
            Standing::Gone => {
                "the file is gone or was moved: move it back, or --discard drops its content".to_owned()
            }
            Standing::Failed(error) => format!("failed: {error}"),
            Standing::Stray => {
                "no control block that tells of which file it is; copy it, or --discard drops it".to_owned()
            }
            _ => "unknown".to_owned(),
        };
        let (len, processes) = (found.len, found.processes);
        let _ =
            writeln!(out, "{len:>14} bytes {processes:>3} processes  {}  {standing}", found.path.display());
    }
}
