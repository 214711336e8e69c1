//! Processes that store to cells of one file until they are killed, and tell of each store once it is made.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};

use serde::{Deserialize, Serialize};

use crate::calls::{self, Errno, page};
use crate::map::RW;
use crate::{cells, file};

/// How a writer gets its fellows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// It has none
    Alone,
    /// They are forked off before it maps the file
    ForkThenMap,
    /// They are forked off afterwards
    MapThenFork,
    /// They are programs of their own
    Spawn,
}

/// What a writer is to do. Its standard input ends when it is to stop; it tells of its stores on standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Writer {
    /// The file: cells of [`cells`](crate::cells), and a rest that nobody owns
    pub path: PathBuf,
    /// How many cells there are
    pub cells: u64,
    /// Which cells are this process's: `n % owners == owner`
    pub owner: u64,
    /// How many owners there are
    pub owners: u64,
    /// How it gets its fellows, the owners that follow it
    pub shape: Shape,
    /// How many processes there are to be, itself included
    pub processes: u64,
    /// What it does when
    pub seed: u64,
}

/// That a store was made. The first of each writer is of no cell, and tells of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who
    pub owner: u32,
    /// Its process
    pub pid: u32,
    /// Where
    pub cell: u32,
    /// The number of the store, from 1
    pub order: u32,
}

impl Told {
    /// The cell of the first message.
    pub const HELLO: u32 = u32::MAX;
    /// The size of a message: a pipe takes it whole or not at all
    pub const SIZE: usize = 16;

    fn bytes(self) -> [u8; Told::SIZE] {
        let numbers = [self.owner, self.pid, self.cell, self.order].map(u32::to_ne_bytes);
        numbers.as_flattened().try_into().expect("four numbers")
    }

    /// Reads one back.
    pub fn of(bytes: &[u8]) -> Told {
        let number = |at: usize| u32::from_ne_bytes(bytes[at * 4..][..4].try_into().expect("4 bytes"));
        Told { owner: number(0), pid: number(1), cell: number(2), order: number(3) }
    }
}

/// Writes as planned.
pub fn main(plan: &Writer) {
    let mut me = plan.clone();
    me.processes = 1;
    let (mut forked, mut spawned) = (Vec::new(), Vec::new());
    if plan.shape == Shape::Spawn {
        spawned = fellows(plan).map(|fellow| spawn(&fellow)).collect();
    }
    if plan.shape == Shape::ForkThenMap {
        forked = fork(plan, &mut me);
    }
    let mut work = Work::begin(&me);
    if plan.shape == Shape::MapThenFork {
        forked = fork(plan, &mut me);
        work.plan = me;
    }
    work.greet();
    while !is_over() {
        for _ in 0..32 {
            work.step();
        }
    }
    for pid in forked {
        // SAFETY: no memory is passed.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    }
    spawned.iter_mut().for_each(|child: &mut Child| drop(child.wait()));
}

fn fellows(plan: &Writer) -> impl Iterator<Item = Writer> + '_ {
    (1..plan.processes).map(|n| Writer {
        owner: plan.owner + n,
        processes: 1,
        shape: Shape::Alone,
        ..plan.clone()
    })
}

fn spawn(plan: &Writer) -> Child {
    let program = std::env::current_exe().expect("a program knows where it is");
    let plan = serde_json::to_string(plan).expect("a plan is plain data");
    Command::new(program).args(["write", &plan]).spawn().expect("starting a writer")
}

/// Forks the fellows off; each gets its own plan, and has no children.
fn fork(plan: &Writer, me: &mut Writer) -> Vec<libc::pid_t> {
    let mut children = Vec::new();
    for fellow in fellows(plan) {
        // SAFETY: this process has one thread, so that its child may go on as it likes.
        match unsafe { libc::fork() } {
            0 => {
                *me = fellow;
                return Vec::new();
            }
            pid => children.push(pid),
        }
    }
    children
}

/// Whether the test has let go of standard input.
fn is_over() -> bool {
    let mut input = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: the struct lives through the call.
    unsafe { libc::poll(&mut input, 1, 0) != 0 }
}

struct Work {
    plan: Writer,
    random: fastrand::Rng,
    file: OwnedFd,
    addr: usize,
    order: u64,
    /// The last store to each cell that had one
    last: HashMap<u64, u64>,
}

impl Work {
    fn begin(plan: &Writer) -> Work {
        let file = file::open(&plan.path, libc::O_RDWR);
        let mut work = Work {
            plan: plan.clone(),
            random: fastrand::Rng::new(),
            file,
            addr: 0,
            order: 0,
            last: HashMap::new(),
        };
        work.map();
        work
    }

    fn greet(&mut self) {
        self.random = fastrand::Rng::with_seed(self.plan.seed ^ self.plan.owner << 56);
        self.tell(Told::HELLO.into());
    }

    fn len(&self) -> usize {
        self.plan.cells as usize * 8
    }

    fn map(&mut self) {
        self.addr = calls::mmap(0, self.len(), RW, libc::MAP_SHARED, self.file.as_raw_fd(), 0).expect("mmap");
    }

    fn tell(&self, cell: u64) {
        let told = Told {
            owner: self.plan.owner as u32,
            pid: std::process::id(),
            cell: cell as u32,
            order: self.order as u32,
        };
        let bytes = told.bytes();
        let written = calls::write(1, bytes.as_ptr() as usize, bytes.len());
        assert_eq!(written, Ok(bytes.len()), "telling the test");
    }

    fn step(&mut self) {
        match self.random.u8(0..100) {
            0..78 => self.store(),
            78..84 => self.pwrite(),
            84..90 => self.sync_part(),
            90 => self.sync(0, self.len()),
            91 => self.remap(),
            92 => self.fsync(),
            93..96 => self.look_into_file(),
            _ => self.look_into_map(),
        }
    }

    fn own_cell(&mut self) -> u64 {
        let all = (self.plan.cells - self.plan.owner).div_ceil(self.plan.owners);
        // Few of them, so that they come back; some at the file's ends.
        let turn = match self.random.u8(0..4) {
            0 => self.random.u64(0..all),
            1 => all - 1 - self.random.u64(0..all.min(16)),
            _ => self.random.u64(0..all.min(512)),
        };
        turn * self.plan.owners + self.plan.owner
    }

    fn next_value(&mut self, cell: u64) -> u64 {
        self.order += 1;
        self.last.insert(cell, self.order);
        cells::value(cell, self.order)
    }

    fn cell_at(&self, cell: u64) -> *mut u64 {
        (self.addr + cell as usize * 8) as *mut u64
    }

    fn store(&mut self) {
        let cell = self.own_cell();
        let value = self.next_value(cell);
        // SAFETY: the cell is in the map, aligned, and nobody else's to store to.
        unsafe { self.cell_at(cell).write_volatile(value) };
        self.tell(cell);
    }

    fn pwrite(&mut self) {
        let cell = self.own_cell();
        let value = self.next_value(cell).to_ne_bytes();
        let written = calls::pwrite(self.file.as_raw_fd(), value.as_ptr() as usize, 8, cell as i64 * 8);
        assert_eq!(written, Ok(8), "pwrite");
        self.tell(cell);
        assert_eq!(self.in_map(cell), self.order, "cell {cell}: what was written is not in the map");
    }

    fn sync_part(&mut self) {
        let from = self.random.usize(0..self.len()) / page() * page();
        let len = self.random.usize(1..=self.len() - from);
        self.sync(from, len);
    }

    fn sync(&mut self, from: usize, len: usize) {
        let flags = if self.random.bool() { libc::MS_SYNC } else { libc::MS_ASYNC };
        calls::msync(self.addr + from, len, flags).expect("msync");
    }

    fn remap(&mut self) {
        calls::munmap(self.addr, self.len()).expect("munmap");
        self.map();
    }

    fn fsync(&self) {
        // SAFETY: no memory is passed.
        assert_eq!(unsafe { libc::fsync(self.file.as_raw_fd()) }, 0, "fsync: {:?}", Errno::last());
    }

    fn expected(&self, cell: u64) -> u64 {
        self.last.get(&cell).copied().unwrap_or(0)
    }

    fn look_into_map(&mut self) {
        let cell = self.own_cell();
        assert_eq!(self.in_map(cell), self.expected(cell), "cell {cell} in the map");
    }

    fn in_map(&self, cell: u64) -> u64 {
        // SAFETY: the cell is in the map and aligned; what others store there is another cell.
        let found = unsafe { self.cell_at(cell).read_volatile() };
        cells::order(cell, found)
            .unwrap_or_else(|| panic!("cell {cell} in the map: torn or another's: {found:#x}"))
    }

    fn look_into_file(&mut self) {
        let (cell, mut found) = (self.own_cell(), [0u8; 8]);
        let got = calls::pread(self.file.as_raw_fd(), found.as_mut_ptr() as usize, 8, cell as i64 * 8);
        assert_eq!(got, Ok(8), "pread");
        let found = u64::from_ne_bytes(found);
        assert_eq!(cells::order(cell, found), Some(self.expected(cell)), "cell {cell} by pread: {found:#x}");
    }
}
