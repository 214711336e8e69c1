//! Where a test of several programs takes place: its files, its directory of images, and who serves the maps.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::TestFile;
use crate::actor::Actor;
use crate::file::pattern;

/// What takes longer than this hangs.
pub const LIMIT: Duration = Duration::from_secs(90);

/// The byte that a fresh file of a scene holds at `offset`: from 128 to 159, which the tests themselves never store.
pub fn fill(offset: usize) -> u8 {
    128 + pattern(offset) % 32
}

/// A scene of the test that this stands in: under mapback if `MAPBACK_PROGRAM` names it, else by the kernel.
#[macro_export]
macro_rules! scene {
    () => {
        $crate::Scene::new(env!("CARGO_BIN_EXE_mapback-actor"), env!("CARGO_TARGET_TMPDIR"), false)
    };
}

/// A scene that is under mapback always: that of `MAPBACK_PROGRAM`, or the one of this build.
#[macro_export]
macro_rules! scene_under_mapback {
    () => {
        $crate::Scene::new(env!("CARGO_BIN_EXE_mapback-actor"), env!("CARGO_TARGET_TMPDIR"), true)
    };
}

/// Files, images, and a socket to which the actors connect.
pub struct Scene {
    dir: TempDir,
    images: TempDir,
    actor: PathBuf,
    mapback: Option<PathBuf>,
    /// The tracker to take; by default the one that `MAPBACK_TRACKER` names
    pub tracker: Option<String>,
    /// What `--flush-every` gets
    pub flush_every: Option<String>,
    /// Where the images are; by default a directory of the scene's own. `None`: where mapback puts them by itself
    pub shared_dir: Option<PathBuf>,
    listener: UnixListener,
    socket: String,
}

impl Scene {
    /// See [`scene!`](crate::scene).
    pub fn new(actor: &str, target_dir: &str, needs_mapback: bool) -> Scene {
        assert!(!crate::process::under_mapback(), "this test starts mapback itself: start it plainly");
        let mapback = std::env::var_os("MAPBACK_PROGRAM").map(PathBuf::from);
        let mapback = mapback.or_else(|| needs_mapback.then(|| Path::new(actor).with_file_name("mapback")));
        if let Some(program) = &mapback {
            let shown = program.display();
            assert!(
                program.exists(),
                "{shown} does not exist: run `cargo build`, or name it in MAPBACK_PROGRAM"
            );
        }
        let base =
            std::env::var_os("MAPBACK_TEST_DIR").map_or_else(|| PathBuf::from(target_dir), PathBuf::from);
        let (listener, socket) = listen();
        let images = temporary(Path::new("/dev/shm"));
        Scene {
            dir: temporary(&base),
            shared_dir: Some(images.path().to_owned()),
            images,
            actor: actor.into(),
            mapback,
            tracker: std::env::var("MAPBACK_TRACKER").ok(),
            flush_every: None,
            listener,
            socket,
        }
    }

    /// Whether the actors are under mapback.
    pub fn under_mapback(&self) -> bool {
        self.mapback.is_some()
    }

    /// Whether the tracker does not know what has changed.
    pub fn tracked_as_whole(&self) -> bool {
        self.under_mapback() && self.tracker.as_deref() == Some("whole")
    }

    /// Where the files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the images are, unless [`Scene::shared_dir`] was changed.
    pub fn images(&self) -> &Path {
        self.images.path()
    }

    /// A file of `len` bytes of [`fill`].
    pub fn file(&self, len: usize) -> TestFile {
        let content: Vec<u8> = (0..len).map(fill).collect();
        self.file_with(&content)
    }

    /// A file of this content.
    pub fn file_with(&self, content: &[u8]) -> TestFile {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        TestFile::at(&self.dir().join(format!("file-{}", COUNTER.fetch_add(1, Ordering::Relaxed))), content)
    }

    /// An actor started by itself, related to no other.
    #[track_caller]
    pub fn actor(&self) -> Actor<'_> {
        let run = Run::start(self.actor_command(["serve", &self.socket]));
        self.arrival(Some(run))
    }

    /// The same as another user, to whom the scene's directory is opened. Only root can.
    #[track_caller]
    pub fn actor_as(&self, user: u32) -> Actor<'_> {
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(self.dir(), open).expect("opening the scene's directory");
        let mut command = self.actor_command(["serve", &self.socket]);
        command
            .uid(user)
            .gid(user)
            .env("HOME", "/nonexistent")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("TMPDIR");
        self.arrival(Some(Run::start(command)))
    }

    /// An actor that is not under mapback.
    #[track_caller]
    pub fn native_actor(&self) -> Actor<'_> {
        let mut command = self.plain(&self.actor);
        command.args(["serve", &self.socket]);
        self.arrival(Some(Run::start(command)))
    }

    /// What starts the actors' program with these words, under mapback if need be.
    pub fn actor_command(&self, words: [&str; 2]) -> Command {
        let mut command = match &self.mapback {
            None => self.plain(&self.actor),
            Some(program) => {
                let mut command = self.plain(program);
                let maps = std::env::var("MAPBACK_MAPS").unwrap_or_else(|_| "all".into());
                command.args(["run", "--maps", &maps]);
                if let Some(tracker) = &self.tracker {
                    command.args(["--tracker", tracker]);
                }
                if let Some(time) = &self.flush_every {
                    command.args(["--flush-every", time]);
                }
                command.arg("--").arg(&self.actor);
                command
            }
        };
        command.args(words);
        command
    }

    /// `mapback recover` with these words.
    pub fn recover(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.plain(self.mapback.as_ref().expect("a scene under mapback"));
        command.arg("recover").args(words);
        command
    }

    /// A program that has nothing to do with mapback but where the images are. Its complaints go to a file.
    fn plain(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name == "LD_PRELOAD" || name.as_encoded_bytes().starts_with(b"MAPBACK_") {
                command.env_remove(name);
            }
        }
        if let Some(dir) = &self.shared_dir {
            command.env("MAPBACK_SHARED_DIR", dir);
        }
        let complaints = OpenOptions::new().create(true).append(true).open(self.complaints());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints.expect("a file for stderr"));
        command.process_group(0);
        command
    }

    fn complaints(&self) -> PathBuf {
        self.dir().join("stderr")
    }

    /// What the programs have written on standard error.
    pub fn said(&self) -> String {
        std::fs::read(self.complaints())
            .map(|said| String::from_utf8_lossy(&said).into_owned())
            .unwrap_or_default()
    }

    /// The next actor that connects.
    #[track_caller]
    pub(crate) fn arrival(&self, mut run: Option<Run>) -> Actor<'_> {
        let start = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("a stream that waits");
                    stream.set_read_timeout(Some(LIMIT)).expect("a stream that does not wait for ever");
                    return Actor::arrive(self, stream, run);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("accept: {error}"),
            }
            if let Some(status) = run.as_mut().and_then(Run::ended) {
                panic!("the actor's start ended with {status}");
            }
            assert!(start.elapsed() < LIMIT, "the actor does not start");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The names of the files in the directory of images, but for the keepers' own lock.
    pub fn image_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.images()).expect("the directory of images");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name != "keeper.lock")
            .collect();
        names.sort();
        names
    }

    /// Waits until nothing is left in the directory of images: a keeper that was left behind for processes that were
    /// still alive has done its work then. What is left after all that time.
    pub fn wait_for_keepers(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let names = self.image_files();
            if names.is_empty() || start.elapsed() > LIMIT / 3 {
                return names;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the programs said on standard error:\n{}", self.said());
        }
    }
}

/// A directory for this user alone: mapback shares no images in one that others may look into.
fn temporary(base: &Path) -> TempDir {
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let made = tempfile::Builder::new().prefix("mapback-scene-").permissions(own).tempdir_in(base);
    made.unwrap_or_else(|error| {
        panic!("no directory in {}: {error}; set MAPBACK_TEST_DIR to one", base.display())
    })
}

/// A socket with a name of the kernel's, which no path can be too long for.
fn listen() -> (UnixListener, String) {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("mapback-scene-{}-{number}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name for a socket");
    let listener = UnixListener::bind_addr(&address).expect("a socket");
    listener.set_nonblocking(true).expect("a socket that does not wait");
    (listener, name)
}

/// A process that the test has started, in a group of its own with all that it starts. Killed when dropped.
pub struct Run {
    child: Child,
    command: String,
    over: bool,
}

impl Run {
    /// Starts it.
    pub fn start(mut command: Command) -> Run {
        let shown = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("starting {shown}: {error}"));
        Run { child, command: shown, over: false }
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("waiting for a child");
        self.over |= status.is_some();
        status
    }

    /// Waits for its end, and panics if that does not come.
    #[track_caller]
    pub fn finish(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(start.elapsed() < LIMIT, "it hangs: {}", self.command);
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Kills it and all that it has started, at once.
    pub fn kill_all(mut self) {
        self.kill_group();
    }

    /// Kills it alone.
    pub fn kill_alone(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.over = true;
    }

    fn kill_group(&mut self) {
        if !self.over {
            // SAFETY: the group is the child's, which nobody has waited for: its number is still its own.
            unsafe { libc::kill(-self.pid(), libc::SIGKILL) };
            let _ = self.child.wait();
            self.over = true;
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.kill_group();
    }
}
