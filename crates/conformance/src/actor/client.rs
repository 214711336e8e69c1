//! The test's side of the socket.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::{Answer, Ask, End, ForkBy};
use crate::TestFile;
use crate::map::RW;
use crate::scene::{Run, Scene};

/// A process that does what it is asked.
pub struct Actor<'s> {
    scene: &'s Scene,
    pid: i32,
    stream: RefCell<BufReader<UnixStream>>,
    /// For one that the test has started itself
    run: Option<Run>,
    /// For one that another actor has made
    parent: Option<i32>,
}

impl<'s> Actor<'s> {
    /// Takes in an actor that connects.
    pub(crate) fn arrive(scene: &'s Scene, stream: UnixStream, run: Option<Run>) -> Actor<'s> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).expect("an actor that says who it is");
        let pid = line.trim().parse().expect("a process's number");
        Actor { scene, pid, stream: stream.into(), run, parent: None }
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Has something done; the test goes on when it is.
    #[track_caller]
    pub fn ask(&self, ask: &Ask) -> Answer {
        self.begin(ask);
        self.answer()
    }

    /// Has something done while the test goes on.
    #[track_caller]
    pub fn begin(&self, ask: &Ask) {
        let mut line = serde_json::to_vec(ask).expect("what is asked is plain data");
        line.push(b'\n');
        let sent = self.stream.borrow_mut().get_mut().write_all(&line);
        sent.unwrap_or_else(|error| panic!("actor {} is gone before {ask:?}: {error}", self.pid));
    }

    /// What came of it.
    #[track_caller]
    pub fn answer(&self) -> Answer {
        let mut line = String::new();
        match self.stream.borrow_mut().read_line(&mut line) {
            Ok(0) => panic!("actor {} has died of what it was asked to do", self.pid),
            Ok(_) => serde_json::from_str(&line).expect("an answer"),
            Err(error) => panic!("actor {} hangs: {error}", self.pid),
        }
    }

    /// As [`Actor::ask`], and what the call returned; panics if it failed.
    #[track_caller]
    pub fn call(&self, ask: &Ask) -> i64 {
        match self.ask(ask) {
            Answer::Number(number) => number,
            other => panic!("actor {}: {ask:?}: {other:?}", self.pid),
        }
    }

    /// `open(2)`
    #[track_caller]
    pub fn open(&self, file: &TestFile, flags: i32) -> i32 {
        self.call(&Ask::Open { path: file.path().to_owned(), flags }) as i32
    }

    /// A shared map to read and write of the file's first `len` bytes.
    #[track_caller]
    pub fn map(&self, file: &TestFile, len: usize) -> Region<'_, 's> {
        let fd = self.open(file, libc::O_RDWR);
        let region = self.map_fd(file, fd, len);
        self.call(&Ask::Close { fd });
        region
    }

    /// The same by a descriptor that the actor has.
    #[track_caller]
    pub fn map_fd(&self, file: &TestFile, fd: i32, len: usize) -> Region<'_, 's> {
        match self.ask(&Ask::Map { fd, len, prot: RW, flags: libc::MAP_SHARED, off: 0 }) {
            Answer::Mapped(addr, behind) => {
                let by_kernel = behind == file.path().to_str().expect("a path in UTF-8");
                assert_eq!(
                    by_kernel,
                    !self.scene.under_mapback(),
                    "the map is served by the wrong side: {behind}"
                );
                Region { actor: self, addr, len }
            }
            other => panic!("actor {} gets no map: {other:?}", self.pid),
        }
    }

    /// A map that the actor has as well, because it was forked off one that had it.
    pub fn inherited(&self, region: &Region<'_, '_>) -> Region<'_, 's> {
        Region { actor: self, addr: region.addr, len: region.len }
    }

    /// A child that goes on as an actor of its own.
    #[track_caller]
    pub fn fork(&self, by: ForkBy) -> Actor<'s> {
        let child = self.call(&Ask::Fork { by });
        self.child(child as i32)
    }

    /// Another program, started by this one.
    #[track_caller]
    pub fn spawn(&self) -> Actor<'s> {
        let child = self.call(&Ask::Spawn);
        self.child(child as i32)
    }

    #[track_caller]
    fn child(&self, pid: i32) -> Actor<'s> {
        let mut child = self.scene.arrival(None);
        assert_eq!(child.pid, pid, "another actor than the one that was made");
        child.parent = Some(self.pid);
        child
    }

    /// Has it end, and waits until it has. What it was started by, `mapback run`, has ended, too.
    #[track_caller]
    pub fn end(self, how: End) -> ExitStatus {
        self.begin(&Ask::End(how));
        self.ended()
    }

    /// Has it become an actor anew.
    #[track_caller]
    pub fn exec(mut self) -> Actor<'s> {
        self.begin(&Ask::End(End::ExecActor));
        self.wait_for_silence();
        let mut again = self.scene.arrival(self.run.take());
        assert_eq!(again.pid, self.pid);
        again.parent = self.parent;
        again
    }

    /// Kills it, and waits until it has ended, likewise.
    #[track_caller]
    pub fn kill(self) -> ExitStatus {
        // SAFETY: sends a signal to a process of this test, which nobody has waited for yet.
        assert_eq!(unsafe { libc::kill(self.pid, libc::SIGKILL) }, 0, "killing actor {}", self.pid);
        self.ended()
    }

    /// Kills it with whatever started it and whatever it started: nobody is left to keep what it stored.
    #[track_caller]
    pub fn kill_with_keeper(mut self) {
        self.run.take().expect("an actor that the test has started").kill_all();
        self.wait_for_silence();
    }

    /// Waits for the end, however it comes. For a child of another actor that is all: its parent has its status.
    #[track_caller]
    pub fn ended(mut self) -> ExitStatus {
        self.wait_for_silence();
        self.run.take().map_or_else(|| ExitStatus::from_raw(0), Run::finish)
    }

    /// The socket ends when the last process that has it does.
    #[track_caller]
    fn wait_for_silence(&self) {
        let mut line = String::new();
        match self.stream.borrow_mut().read_line(&mut line) {
            Ok(0) => {}
            // An actor that died with something unread has reset the connection.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Ok(_) => panic!("actor {} said {line} instead of ending", self.pid),
            Err(error) => panic!("actor {} does not end: {error}", self.pid),
        }
    }

    /// How a child of this one has ended.
    #[track_caller]
    pub fn reap(&self, pid: i32) -> ExitStatus {
        ExitStatus::from_raw(self.call(&Ask::Reap { pid }) as i32)
    }
}

/// A map in an actor.
#[derive(Clone, Copy)]
pub struct Region<'a, 's> {
    actor: &'a Actor<'s>,
    addr: usize,
    len: usize,
}

impl Region<'_, '_> {
    /// Its address there.
    pub fn at(&self, off: usize) -> usize {
        self.addr + off
    }

    /// Its length.
    #[allow(clippy::len_without_is_empty)] // a map is never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// Loads `len` bytes.
    #[track_caller]
    pub fn bytes(&self, off: usize, len: usize) -> Vec<u8> {
        match self.actor.ask(&Ask::Load { addr: self.at(off), len }) {
            Answer::Bytes(bytes) => bytes,
            other => panic!("loading: {other:?}"),
        }
    }

    /// Loads one byte.
    #[track_caller]
    pub fn get(&self, off: usize) -> u8 {
        self.bytes(off, 1)[0]
    }

    /// Stores bytes.
    #[track_caller]
    pub fn put(&self, off: usize, bytes: &[u8]) {
        self.actor.call(&Ask::Store { addr: self.at(off), bytes: bytes.to_vec() });
    }

    /// Stores one byte.
    #[track_caller]
    pub fn set(&self, off: usize, byte: u8) {
        self.put(off, &[byte]);
    }

    /// The signal that a load dies of, if any.
    #[track_caller]
    pub fn fault(&self, off: usize) -> Option<i32> {
        match self.actor.ask(&Ask::Probe { addr: self.at(off) }) {
            Answer::Fault(signal) => Some(signal),
            Answer::Number(_) => None,
            other => panic!("probing: {other:?}"),
        }
    }

    /// `msync` of all of it.
    #[track_caller]
    pub fn sync(&self) {
        self.actor.call(&Ask::Sync { addr: self.addr, len: self.len, flags: libc::MS_SYNC });
    }

    /// `munmap` of all of it.
    #[track_caller]
    pub fn unmap(self) {
        self.actor.call(&Ask::Unmap { addr: self.addr, len: self.len });
    }
}
