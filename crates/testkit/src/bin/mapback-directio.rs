//! `mapback-directio SOURCE MOUNTPOINT`: shows a directory through FUSE with `direct_io`, where
//! `mmap(MAP_SHARED)` fails with ENODEV. For mapback's tests.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use mapback_testkit::passthrough::{Passthrough, WriteFault, WriteGate};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{PidfdFlags, getppid, pidfd_open};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// Shows SOURCE at MOUNTPOINT through FUSE with direct_io, where mmap(MAP_SHARED) fails with ENODEV.
///
/// Prints "ready" once mounted and serves until it is unmounted, gets SIGTERM, SIGINT or SIGHUP, or its parent
/// process ends. SIGUSR1 heals failing writes, or makes them fail again.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Make write and fallocate fail with this error (ENOSPC, EIO, EDQUOT…), optionally after so many bytes
    #[arg(long, value_name = "ERRNO[:after=BYTES]")]
    fail_write: Option<WriteFault>,
    /// Take commands on standard input ("fail ENOSPC:after=10", "heal", "stats", "stop"), answer each with one
    /// line, and stop at its end
    #[arg(long)]
    control: bool,
    /// Keep serving when the parent process ends
    #[arg(long)]
    detached: bool,
    /// The directory to show
    source: PathBuf,
    /// The empty directory to show it at
    mountpoint: PathBuf,
}

/// How long a busy mount may stay so before it is detached: 50 × 10 ms.
const BUSY_RETRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Why the main thread wakes up.
enum Event {
    /// Somebody asked us to stop.
    Stop,
    /// The session ended: unmounted from outside, or broken.
    Ended(std::io::Result<()>),
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("mapback-directio: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let gate = Arc::new(WriteGate::new(options.fail_write));
    let (events, inbox) = channel();
    // Before mounting: from here on a signal unmounts.
    watch_signals(events.clone(), Arc::clone(&gate))?;
    let mut session = mount(options, Arc::clone(&gate))?;
    let unmounter = session.unmount_callable();
    let ended = events.clone();
    thread::spawn(move || ended.send(Event::Ended(session.run())));
    if !options.detached {
        watch_parent(events.clone());
    }
    say("ready");
    if options.control {
        thread::spawn(move || {
            obey(&gate);
            events.send(Event::Stop)
        });
    }
    serve(&inbox, unmounter, &options.mountpoint)
}

fn mount(options: &Options, gate: Arc<WriteGate>) -> Result<Session<Passthrough>, String> {
    let (source, mountpoint) = (&options.source, &options.mountpoint);
    detach_stale(mountpoint);
    let full = |path: &Path| path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    let (full_source, full_mountpoint) = (full(source)?, full(mountpoint)?);
    if full_mountpoint != full_source && full_mountpoint.starts_with(&full_source) {
        let (mountpoint, source) = (mountpoint.display(), source.display());
        return Err(format!("{mountpoint} lies inside {source}: choose a mount point outside of it"));
    }
    let root = rustix::process::geteuid().is_root();
    // The kernel has masked the modes that it passes to us.
    rustix::process::umask(rustix::fs::Mode::empty());
    let filesystem =
        Passthrough::new(source, gate).map_err(|error| format!("{}: {error}", source.display()))?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("mapback-directio".into()),
        MountOption::DefaultPermissions,
        MountOption::Dev,
        MountOption::Suid,
    ];
    config.acl = if root { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(4);
    config.clone_fd = true;
    Session::new(filesystem, mountpoint, &config).map_err(|error| {
        format!(
            "cannot mount at {}: {error} (run as root; any other user needs fusermount3, of the package fuse3, \
             and access to /dev/fuse)",
            mountpoint.display()
        )
    })
}

/// A mount whose server was killed stays behind, and every access to it fails.
fn detach_stale(mountpoint: &Path) {
    if std::fs::metadata(mountpoint).is_err_and(|e| e.raw_os_error() == Some(libc::ENOTCONN)) {
        // If it cannot be detached, mounting fails next and says why.
        let _ = rustix::mount::unmount(mountpoint, UnmountFlags::DETACH);
    }
}

fn serve(inbox: &Receiver<Event>, mut unmounter: SessionUnmounter, mountpoint: &Path) -> Result<(), String> {
    let ended = |result: std::io::Result<()>| result.map_err(|error| format!("the session broke: {error}"));
    match inbox.recv() {
        Ok(Event::Ended(result)) => return ended(result),
        Ok(Event::Stop) | Err(_) => {}
    }
    if !unmount(&mut unmounter, mountpoint)? {
        eprintln!("mapback-directio: {} was still in use and has been detached", mountpoint.display());
        return Ok(());
    }
    // Requests that are under way are answered before the session ends.
    for event in inbox {
        if let Event::Ended(result) = event {
            return ended(result);
        }
    }
    Ok(())
}

/// Unmounts; a mount that stays in use is only detached, and the answer is false.
fn unmount(unmounter: &mut SessionUnmounter, mountpoint: &Path) -> Result<bool, String> {
    let failed =
        |error: std::io::Error| format!("cannot unmount {}: {error} (try umount -l)", mountpoint.display());
    // A process that another thread of our parent has just forked holds every open file until it executes.
    for _ in 0..BUSY_RETRIES {
        match rustix::mount::unmount(mountpoint, UnmountFlags::empty()) {
            Err(Errno::BUSY) => thread::sleep(BUSY_PAUSE),
            Ok(()) | Err(Errno::INVAL) => return Ok(true),
            // Without root only fusermount3 may unmount.
            Err(_) => return unmounter.unmount().map(|()| true).map_err(failed),
        }
    }
    rustix::mount::unmount(mountpoint, UnmountFlags::DETACH).map_err(|error| failed(error.into()))?;
    Ok(false)
}

fn watch_signals(events: Sender<Event>, gate: Arc<WriteGate>) -> Result<(), String> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        .map_err(|error| format!("cannot install signal handlers: {error}"))?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                gate.toggle();
            } else if events.send(Event::Stop).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// By process descriptor and not by PR_SET_PDEATHSIG, which fires when the parent's *thread* ends.
fn watch_parent(events: Sender<Event>) {
    let Some(parent) = getppid() else { return };
    let Ok(parent) = pidfd_open(parent, PidfdFlags::empty()) else { return };
    thread::spawn(move || {
        while poll(&mut [PollFd::new(&parent, PollFlags::IN)], None).is_err() {}
        events.send(Event::Stop)
    });
}

/// Carries out commands until "stop" or the end of the input.
fn obey(gate: &WriteGate) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("fail", fault) => match fault.parse() {
                Ok(fault) => {
                    gate.arm(fault);
                    say("ok");
                }
                Err(message) => say(&format!("error {message}")),
            },
            ("heal", _) => {
                gate.heal();
                say("ok");
            }
            ("stats", _) => {
                let totals = gate.totals();
                say(&format!("ok {} {} {}", totals.writes, totals.bytes, totals.failed));
            }
            ("stop", _) => return,
            (other, _) => say(&format!("error unknown command '{other}': use fail, heal, stats or stop")),
        }
    }
}

/// Nobody may be reading any more; that must not end the service.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
