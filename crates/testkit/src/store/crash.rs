//! Stores that crash: what is written to them is recorded, and every state that a crash could leave can be looked at.
//!
//! The medium is taken to keep what was synced, and of what was not synced any part: each sector of each write survives
//! or does not, whatever became of the others. That covers writes that are torn and writes that are reordered.

use super::Random;
use mapback::store::{Identity, MemoryStore, Stat, Store, Write};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The unit that survives or does not.
const SECTOR: u64 = 512;

/// Some stores on one disk, with one history.
#[derive(Clone, Debug, Default)]
pub struct CrashDisk {
    history: Arc<Mutex<History>>,
}

#[derive(Debug, Default)]
struct History {
    initial: Vec<Vec<u8>>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Write { file: usize, off: u64, bytes: Vec<u8> },
    Resize { file: usize, len: u64 },
    Sync { file: usize },
}

impl Step {
    fn file(&self) -> usize {
        match self {
            Step::Write { file, .. } | Step::Resize { file, .. } | Step::Sync { file } => *file,
        }
    }
}

/// One store of a [`CrashDisk`].
#[derive(Debug)]
pub struct CrashStore {
    disk: CrashDisk,
    file: usize,
    now: MemoryStore,
    /// Syncs are not recorded: a disk that lies, or a program that forgets to sync.
    deaf: bool,
}

impl CrashDisk {
    /// A disk without stores.
    pub fn new() -> CrashDisk {
        CrashDisk::default()
    }

    /// A store with this content, all of it synced.
    pub fn store(&self, content: Vec<u8>) -> Arc<CrashStore> {
        self.make(content, false)
    }

    /// A store whose syncs do nothing.
    pub fn deaf_store(&self, content: Vec<u8>) -> Arc<CrashStore> {
        self.make(content, true)
    }

    fn make(&self, content: Vec<u8>, deaf: bool) -> Arc<CrashStore> {
        let mut history = self.history();
        let file = history.initial.len();
        history.initial.push(content.clone());
        let now = MemoryStore::with_lasting(content, lasting(file));
        Arc::new(CrashStore { disk: self.clone(), file, now, deaf })
    }

    /// How many steps the history has: writes, resizes and syncs.
    pub fn steps(&self) -> usize {
        self.history().steps.len()
    }

    /// Visits the crash before each step, and the one after the last.
    pub fn crashes(&self, mut visit: impl FnMut(&Crash)) {
        let history = self.history();
        let files = history.initial.len();
        let mut crash = Crash { at: 0, durable: history.initial.clone(), pending: vec![Vec::new(); files] };
        visit(&crash);
        for step in &history.steps {
            crash.advance(step.clone());
            visit(&crash);
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A crash at one point of a history.
#[derive(Debug)]
pub struct Crash {
    /// So many steps were done.
    pub at: usize,
    durable: Vec<Vec<u8>>,
    pending: Vec<Vec<Step>>,
}

/// What survives of that which was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Survivors {
    /// Everything, as after a kill of the program.
    All,
    /// Nothing.
    None,
    /// Each sector and each resize, or not, by chance.
    Some(u64),
}

impl Crash {
    fn advance(&mut self, step: Step) {
        self.at += 1;
        let file = step.file();
        if matches!(step, Step::Sync { .. }) {
            for step in std::mem::take(&mut self.pending[file]) {
                apply(&mut self.durable[file], &step, &mut |_| true);
            }
        } else {
            self.pending[file].push(step);
        }
    }

    /// What each store holds after the crash, in the order in which they were made. A new process may open them.
    pub fn stores(&self, survivors: Survivors) -> Vec<Arc<MemoryStore>> {
        let mut random = Random(match survivors {
            Survivors::Some(seed) => seed ^ ((self.at as u64) << 32),
            _ => 0,
        });
        let mut survives = |_: u64| match survivors {
            Survivors::All => true,
            Survivors::None => false,
            Survivors::Some(_) => random.number() & 1 == 0,
        };
        let content = |(file, durable): (usize, &Vec<u8>)| {
            let mut bytes = durable.clone();
            for step in &self.pending[file] {
                apply(&mut bytes, step, &mut survives);
            }
            Arc::new(MemoryStore::with_lasting(bytes, lasting(file)))
        };
        self.durable.iter().enumerate().map(content).collect()
    }
}

fn apply(bytes: &mut Vec<u8>, step: &Step, survives: &mut dyn FnMut(u64) -> bool) {
    match step {
        Step::Sync { .. } => {}
        Step::Resize { len, .. } => {
            if survives(0) {
                bytes.resize(*len as usize, 0);
            }
        }
        Step::Write { off, bytes: new, .. } => {
            let end = off + new.len() as u64;
            let mut at = *off;
            while at < end {
                let next = ((at / SECTOR + 1) * SECTOR).min(end);
                // A write into room that a lost resize should have made is lost with it.
                if survives(at) && next as usize <= bytes.len() {
                    let from = (at - off) as usize..(next - off) as usize;
                    bytes[at as usize..next as usize].copy_from_slice(&new[from]);
                }
                at = next;
            }
        }
    }
}

fn lasting(file: usize) -> u64 {
    0xc4a5_0000 + file as u64
}

impl Store for CrashStore {
    fn identity(&self) -> io::Result<Identity> {
        self.now.identity()
    }

    fn stat(&self) -> io::Result<Stat> {
        self.now.stat()
    }

    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize> {
        self.now.read_at(buf, off)
    }

    fn write(&self, batch: &mut [Write<'_>]) {
        self.now.write(batch);
        let mut history = self.disk.history();
        for write in batch {
            let bytes = write.bytes[..write.done].to_vec();
            history.steps.push(Step::Write { file: self.file, off: write.off, bytes });
        }
    }

    fn sync(&self) -> io::Result<()> {
        if !self.deaf {
            self.disk.history().steps.push(Step::Sync { file: self.file });
        }
        Ok(())
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.now.resize(len)?;
        self.disk.history().steps.push(Step::Resize { file: self.file, len });
        Ok(())
    }
}
