//! What every process does, and what the file holds afterwards: it all follows from the seed.

use std::ops::Range;

use fastrand::Rng;

/// The file's name.
pub const FILE: &str = "file";

/// How many processes work on the file.
pub const WORKERS: usize = 4;

/// The process that ends by SIGKILL.
pub const KILLED: usize = 3;

/// How many stores each process does just before its end.
const LAST_STORES: u32 = 20;

/// The file's greatest size: no multiple of any page.
pub const MAX_LEN: usize = 300_007;

/// Its least size: some ranges of every process are below.
const MIN_LEN: usize = 100_003;

/// The longest range that one process owns.
const MAX_RANGE: usize = 9_000;

/// The numbers from which all follows.
pub struct Plan {
    pub seed: u64,
    pub phases: u32,
    pub operations: u32,
}

/// How bytes get into the file.
#[derive(Clone, Copy, Debug)]
pub enum WriteBy {
    Pwrite,
    Write,
    Pwritev,
    LongMap(Flush),
    NewMap(Flush),
}

/// What follows a store.
#[derive(Clone, Copy, Debug)]
pub enum Flush {
    No,
    Async,
    Sync,
}

/// How bytes are read.
#[derive(Clone, Copy, Debug)]
pub enum ReadBy {
    Pread,
    Read,
    Preadv,
    LongMap,
    NewMap,
    /// A private map, whose copy is then scribbled over.
    PrivateMap,
}

/// One operation, within the ranges of the process that does it.
#[derive(Debug)]
pub enum Op {
    Write { at: usize, bytes: Bytes, by: WriteBy },
    PunchHole { at: usize, len: usize },
    Copy { from: usize, to: usize, len: usize },
    Read { at: usize, len: usize, by: ReadBy },
    SyncLongMap,
    Fsync,
    Fdatasync,
    Reopen,
    Remap,
    DropPages,
}

/// Random bytes, which a failure's message need not show.
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Plan {
    fn rng(&self, what: u64, worker: u64, phase: u64) -> Rng {
        let mut rng = Rng::with_seed(self.seed);
        for number in [what, worker, phase] {
            rng = Rng::with_seed(rng.u64(..) ^ number);
        }
        rng
    }

    /// The ranges of `worker`: every [`WORKERS`]th of those that the file is cut into.
    pub fn ranges(&self, worker: usize) -> Vec<Range<usize>> {
        let mut rng = self.rng(0, 0, 0);
        let mut all = Vec::new();
        let mut start = 0;
        while start < MAX_LEN {
            // Some short ones, so that pages have many owners.
            let longest = if rng.u8(..4) == 0 { 100 } else { MAX_RANGE };
            let end = MAX_LEN.min(start + rng.usize(1..=longest));
            all.push(start..end);
            start = end;
        }
        all.into_iter().skip(worker).step_by(WORKERS).collect()
    }

    /// The file's size in `phase`.
    pub fn size(&self, phase: u32) -> usize {
        if phase == 0 { MAX_LEN / 2 } else { self.rng(1, 0, phase.into()).usize(MIN_LEN..=MAX_LEN) }
    }

    /// What the file holds at first.
    pub fn initial(&self) -> Vec<u8> {
        let mut content = vec![0; self.size(0)];
        self.rng(2, 0, 0).fill(&mut content);
        content
    }

    /// What `worker` does in `phase`.
    pub fn operations(&self, worker: usize, phase: u32) -> impl Iterator<Item = Op> {
        let ranges = self.ranges_below(worker, self.size(phase));
        let mut rng = self.rng(3, worker as u64, phase.into());
        (0..self.operations).map(move |_| operation(&mut rng, &ranges))
    }

    /// What `worker` stores after the last phase.
    pub fn last_stores(&self, worker: usize) -> impl Iterator<Item = Op> {
        let ranges = self.ranges_below(worker, self.size(self.phases));
        let mut rng = self.rng(4, worker as u64, 0);
        (0..LAST_STORES).map(move |_| write(&mut rng, &ranges, |_| WriteBy::LongMap(Flush::No)))
    }

    /// How often all processes wait for one another: once before the first phase and once after the last stores.
    pub fn barriers(&self) -> u32 {
        2 + 4 * self.phases
    }

    /// What the file holds when all is done.
    pub fn content_at_end(&self) -> Vec<u8> {
        let mut content = self.initial();
        for phase in 0..self.phases {
            for worker in 0..WORKERS {
                self.operations(worker, phase).for_each(|op| op.apply(&mut content));
            }
            content.resize(self.size(phase + 1), 0);
        }
        (0..WORKERS).flat_map(|worker| self.last_stores(worker)).for_each(|op| op.apply(&mut content));
        content
    }

    fn ranges_below(&self, worker: usize, size: usize) -> Vec<Range<usize>> {
        let mut ranges = self.ranges(worker);
        ranges.retain(|range| range.start < size);
        for range in &mut ranges {
            range.end = range.end.min(size);
        }
        ranges
    }
}

fn operation(rng: &mut Rng, ranges: &[Range<usize>]) -> Op {
    match rng.u8(..100) {
        0..50 => write(rng, ranges, write_by),
        50..54 => {
            let (at, len) = part(rng, ranges);
            Op::PunchHole { at, len }
        }
        54..58 => copy(rng, ranges),
        58..88 => {
            let (at, len) = part(rng, ranges);
            Op::Read { at, len, by: read_by(rng) }
        }
        88..91 => Op::SyncLongMap,
        91..93 => Op::Fsync,
        93..95 => Op::Fdatasync,
        95..97 => Op::Reopen,
        97..99 => Op::Remap,
        _ => Op::DropPages,
    }
}

fn write(rng: &mut Rng, ranges: &[Range<usize>], by: impl FnOnce(&mut Rng) -> WriteBy) -> Op {
    let (at, len) = part(rng, ranges);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    Op::Write { at, bytes: Bytes(bytes), by: by(rng) }
}

/// A part of one of the ranges, as its start and length.
fn part(rng: &mut Rng, ranges: &[Range<usize>]) -> (usize, usize) {
    let range = &ranges[rng.usize(..ranges.len())];
    let at = rng.usize(range.clone());
    (at, rng.usize(1..=range.end - at))
}

/// A copy between two parts of the file, which do not overlap.
fn copy(rng: &mut Rng, ranges: &[Range<usize>]) -> Op {
    loop {
        let ((from, a), (to, b)) = (part(rng, ranges), part(rng, ranges));
        let len = a.min(b);
        if from + len <= to || to + len <= from {
            return Op::Copy { from, to, len };
        }
    }
}

fn write_by(rng: &mut Rng) -> WriteBy {
    let flush = [Flush::No, Flush::No, Flush::Async, Flush::Sync][rng.usize(..4)];
    match rng.u8(..8) {
        0 => WriteBy::Write,
        1 => WriteBy::Pwritev,
        2 | 3 => WriteBy::Pwrite,
        4 | 5 => WriteBy::LongMap(flush),
        _ => WriteBy::NewMap(flush),
    }
}

fn read_by(rng: &mut Rng) -> ReadBy {
    use ReadBy::{LongMap, NewMap, Pread, Preadv, PrivateMap, Read};
    [Pread, Read, Preadv, LongMap, NewMap, PrivateMap][rng.usize(..6)]
}

impl Op {
    /// Does to `content` what the operation does to the file.
    pub fn apply(&self, content: &mut [u8]) {
        match self {
            Op::Write { at, bytes, .. } => content[*at..*at + bytes.0.len()].copy_from_slice(&bytes.0),
            Op::PunchHole { at, len } => content[*at..*at + *len].fill(0),
            Op::Copy { from, to, len } => content.copy_within(*from..*from + *len, *to),
            _ => {}
        }
    }
}
