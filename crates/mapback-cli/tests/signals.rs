//! `mapback run --stats` stays beside the program: signals, stops, deaths.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use common::*;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

const STATS: &[&str] = &["--stats-file", "/dev/null"];

/// Starts a script under a supervising mapback and waits until it says something. A mapback that gets killed leaves its
/// folder for statistics in `temporary`.
fn start(script: &str, temporary: &Path) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = run_sh(STATS, script).env("TMPDIR", temporary).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    (child, output, line.trim().to_owned())
}

#[test]
fn a_death_by_signal_is_reenacted() {
    for options in [&[][..], STATS] {
        for (name, number) in
            [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("ABRT", 6), ("PIPE", 13), ("USR1", 10)]
        {
            let status = run_sh(options, &format!("ulimit -c 0; kill -{name} $$")).status().unwrap();
            assert_eq!(status.signal(), Some(number), "{name} {options:?}: {status}");
        }
        let status = run_sh(options, "kill -40 $$").status().unwrap();
        assert_eq!(status.signal(), Some(40), "a real-time signal: {status}");
    }
}

#[test]
fn mapback_leaves_no_core_of_its_own() {
    let status = run_sh(STATS, "ulimit -c 0; kill -QUIT $$").status().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(3), false));
}

#[test]
fn signals_to_mapback_reach_the_program() {
    let names = ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "ALRM", "TERM"];
    let traps: String = names.iter().map(|name| format!("trap 'echo got {name}' {name};")).collect();
    let script = format!("{traps} echo ready; while :; do sleep 0.02; done");
    let temporary = tempfile::tempdir().unwrap();
    let (mut child, mut output, line) = start(&script, temporary.path());
    assert_eq!(line, "ready");
    let pid = Pid::from_child(&child);
    let signals = [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::WINCH,
        Signal::ALARM,
        Signal::TERM,
    ];
    for (signal, name) in signals.into_iter().zip(names) {
        kill_process(pid, signal).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), format!("got {name}"));
    }
    kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_killed_mapback_takes_the_program_with_it() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut child, mut output, _) = start("echo ready; exec sleep 1000", temporary.path());
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap(); // ends only when nobody has the pipe any more
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_stop_is_mirrored_and_a_continue_passed_on() {
    for signal in ["STOP", "TSTP"] {
        let mut command = run_sh(STATS, &format!("kill -{signal} $$; echo resumed; exit 4"));
        // A group of its own, whose parent is elsewhere in the session: not orphaned, so that TSTP stops it.
        let mut child = command.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped(), "{signal}: {status:?}");
        kill_process(pid, Signal::CONT).unwrap(); // to mapback alone
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), child.wait().unwrap().code()), ("resumed\n", Some(4)), "{signal}");
    }
}

#[test]
fn the_signal_state_is_inherited() {
    for options in ["", "--stats-file /dev/null"] {
        let show = "grep -E ^Sig\\(Blk\\|Ign\\) /proc/self/status";
        for setup in ["", "trap '' PIPE;", "trap '' HUP USR1;"] {
            let state = |command: &str| {
                let output = Command::new("sh").args(["-c", &format!("{setup} {command}")]).output().unwrap();
                assert!(output.status.success(), "{}", text(&output.stderr));
                text(&output.stdout)
            };
            assert_eq!(
                state(&format!("{MAPBACK} run {options} -- {show}")),
                state(show),
                "{setup} {options}"
            );
        }
    }
}

#[test]
fn a_terminals_interrupt_arrives_once() {
    let (master, slave) = terminal();
    let script =
        "trap 'echo got' INT; trap 'echo end; exit 6' TERM; echo ready; while :; do sleep 0.02; done";
    let mut command = run_sh(STATS, script);
    let copy = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    command.stdin(copy(&slave)).stdout(copy(&slave)).stderr(copy(&slave));
    let session = || {
        rustix::process::setsid()?;
        // SAFETY: descriptor 0 is open for as long as this runs: it is the terminal that was given as standard input.
        rustix::process::ioctl_tiocsctty(unsafe { std::os::fd::BorrowedFd::borrow_raw(0) })?;
        Ok(())
    };
    // SAFETY: the closure makes two system calls and nothing else.
    unsafe { command.pre_exec(session) };
    let mut child = command.spawn().unwrap();
    drop((command, slave));

    let mut master = BufReader::new(std::fs::File::from(master));
    let mut seen = String::new();
    let mut until = |what: &str, master: &mut BufReader<std::fs::File>| {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert_ne!(master.read_line(&mut line).unwrap(), 0, "no '{what}' after: {seen}");
            seen.push_str(&line);
        }
        seen.clone()
    };
    until("ready", &mut master);
    master.get_mut().write_all(b"\x03").unwrap();
    until("got", &mut master);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let seen = until("end", &mut master);
    assert_eq!(seen.matches("got").count(), 1, "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

/// A new pseudo-terminal: our end and the program's.
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(master.as_fd(), Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
    assert!(master.as_raw_fd() >= 0);
    (master, slave)
}
