//! Processes that do what a test tells them, so that one test can play several programs against each other.
//!
//! The test itself is never under mapback: it starts actors (see [`Scene`](crate::Scene)), asks them one thing after
//! the other over a socket, and reads the files past everybody. An actor answers a line of JSON with a line of JSON.

mod answers;
mod calls;
mod client;
mod ends;
mod server;
mod threads;
mod ways;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use client::{Actor, Region};

use crate::writer::{self, Writer};

/// One thing to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // each is the call of its name
pub enum Ask {
    Open {
        path: PathBuf,
        flags: i32,
    },
    Close {
        fd: i32,
    },
    Map {
        fd: i32,
        len: usize,
        prot: i32,
        flags: i32,
        off: i64,
    },
    Unmap {
        addr: usize,
        len: usize,
    },
    Sync {
        addr: usize,
        len: usize,
        flags: i32,
    },
    Load {
        addr: usize,
        len: usize,
    },
    Store {
        addr: usize,
        bytes: Vec<u8>,
    },
    /// Loads one byte, and tells the signal if that faults
    Probe {
        addr: usize,
    },
    Read {
        by: ReadBy,
        path: PathBuf,
        off: usize,
        len: usize,
    },
    Write {
        by: WriteBy,
        path: PathBuf,
        off: usize,
        bytes: Vec<u8>,
    },
    /// By a descriptor that the actor has
    Pread {
        fd: i32,
        off: usize,
        len: usize,
    },
    /// By a descriptor that the actor has
    Pwrite {
        fd: i32,
        off: usize,
        bytes: Vec<u8>,
    },
    Resize {
        by: ResizeBy,
        path: PathBuf,
        len: usize,
    },
    Flush {
        by: FlushBy,
        path: PathBuf,
    },
    /// Sets a file's times to so many seconds after 1970
    Times {
        by: TimesBy,
        path: PathBuf,
        seconds: i64,
    },
    /// Becomes another user for good
    SetUser {
        user: u32,
    },
    Lock {
        by: LockBy,
        fd: i32,
        start: i64,
        len: i64,
    },
    /// Of a record lock
    Unlock {
        fd: i32,
        start: i64,
        len: i64,
    },
    /// Becomes two actors: the other one connects to the test by itself
    Fork {
        by: ForkBy,
    },
    /// Starts a program that connects to the test by itself
    Spawn,
    Reap {
        pid: i32,
    },
    /// A child that borrows this process's memory, as `vfork` makes it, stores a byte and becomes `true`
    StoreInVfork {
        addr: usize,
        byte: u8,
    },
    End(End),
    InitMutex {
        addr: usize,
    },
    /// Adds 1 to the number at `counter` under the mutex, so many times in each of so many threads
    AddLocked {
        mutex: usize,
        counter: usize,
        times: u32,
        threads: u32,
    },
    /// The same with an atomic addition
    AddAtomic {
        counter: usize,
        times: u32,
        threads: u32,
    },
    /// Waits for the futex word to be `mine` and sets it to `theirs`, so many times
    Turns {
        word: usize,
        mine: u32,
        theirs: u32,
        times: u32,
    },
    Hammer(Hammer),
    /// A digest of memory
    Digest {
        addr: usize,
        len: usize,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It was done; what the call returned
    Number(i64),
    /// It was done, and this was read
    Bytes(Vec<u8>),
    /// Where a map is, and what `/proc/self/maps` says is behind it
    Mapped(usize, String),
    /// The call failed with this errno
    Errno(i32),
    /// The access died of this signal
    Fault(i32),
    /// The stores of each thread
    Counts(Vec<u64>),
}

/// Ways of reading a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ReadBy {
    Read,
    Pread,
    Readv,
    Preadv,
    Preadv2,
    Fread,
    Sendfile,
    CopyFileRange,
    Splice,
    /// A private map that is made for it
    PrivateMap,
}

impl ReadBy {
    /// All of them.
    pub const ALL: [ReadBy; 10] = [
        ReadBy::Read,
        ReadBy::Pread,
        ReadBy::Readv,
        ReadBy::Preadv,
        ReadBy::Preadv2,
        ReadBy::Fread,
        ReadBy::Sendfile,
        ReadBy::CopyFileRange,
        ReadBy::Splice,
        ReadBy::PrivateMap,
    ];
}

/// Ways of writing to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum WriteBy {
    Write,
    Pwrite,
    Writev,
    Pwritev,
    Pwritev2,
    Fwrite,
    Fprintf,
    Sendfile,
    CopyFileRange,
    Splice,
    /// `write` with O_APPEND: the offset has to be the end of the file
    Append,
}

impl WriteBy {
    /// All that write at any offset.
    pub const IN_PLACE: [WriteBy; 10] = [
        WriteBy::Write,
        WriteBy::Pwrite,
        WriteBy::Writev,
        WriteBy::Pwritev,
        WriteBy::Pwritev2,
        WriteBy::Fwrite,
        WriteBy::Fprintf,
        WriteBy::Sendfile,
        WriteBy::CopyFileRange,
        WriteBy::Splice,
    ];
}

/// Ways of changing a file's length, or of making zeros in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ResizeBy {
    Ftruncate,
    Truncate,
    /// `fallocate` from nothing to the length
    Fallocate,
    PosixFallocate,
    /// A hole from the first byte to the length; the file's size stays
    PunchHole,
    /// `open` with O_TRUNC; the length has to be 0
    OpenTruncating,
    /// The length has to be 0
    Creat,
}

/// Ways of flushing a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum FlushBy {
    Fsync,
    Fdatasync,
    SyncFileRange,
    Syncfs,
    Sync,
}

/// Ways of setting a file's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum TimesBy {
    Futimens,
    Utimensat,
    Utimes,
    Futimes,
    Lutimes,
    Futimesat,
    Utime,
}

impl TimesBy {
    /// All of them.
    pub const ALL: [TimesBy; 7] = [
        TimesBy::Futimens,
        TimesBy::Utimensat,
        TimesBy::Utimes,
        TimesBy::Futimes,
        TimesBy::Lutimes,
        TimesBy::Futimesat,
        TimesBy::Utime,
    ];
}

/// Kinds of locks, all exclusive and without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum LockBy {
    Fcntl,
    OpenFile,
    Flock,
}

/// Ways of making a process that goes on as this one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ForkBy {
    Fork,
    /// libc's `clone`, sharing nothing
    Clone,
    /// The system call `fork` by its number; where there is none, as `CloneByNumber`
    ForkByNumber,
    /// The system call `clone` by its number, without a stack of the child's own
    CloneByNumber,
}

impl ForkBy {
    /// All of them.
    pub const ALL: [ForkBy; 4] = [ForkBy::Fork, ForkBy::Clone, ForkBy::ForkByNumber, ForkBy::CloneByNumber];
}

/// Ways for a process to end, or for its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum End {
    Return,
    Exit,
    UnderscoreExit,
    QuickExit,
    Abort,
    /// A store to address 8
    Segv,
    /// A load past the end of a file that the kernel maps
    Bus,
    /// SIGTERM with its default action
    Term,
    /// SIGKILL from itself
    Kill,
    /// Becomes the program `true`
    Exec,
    /// Becomes an actor anew, which connects to the test by itself
    ExecActor,
}

/// Stores by several threads to a map whose cells each belong to one of them; see [`cells`](crate::cells).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hammer {
    /// Where the map is
    pub addr: usize,
    /// How long it is
    pub len: usize,
    /// The number of this process's first thread among all threads of all processes
    pub first: u64,
    /// This process's threads
    pub threads: u64,
    /// The threads of all processes
    pub of: u64,
    /// How long they work
    pub millis: u64,
}

/// The program `mapback-actor`.
pub fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    watchdog();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", socket] => server::serve(socket),
        ["write", plan] => writer::main(&serde_json::from_str::<Writer>(plan).expect("a plan of writing")),
        _ => panic!("mapback-actor is started by the tests: not with {words:?}"),
    }
}

/// Lets SIGALRM kill this process if it hangs.
fn watchdog() {
    // SAFETY: alarm takes a number; nobody handles SIGALRM.
    unsafe { libc::alarm(300) };
}
