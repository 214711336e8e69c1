//! Crashes at every step of what a journal writes, with torn and reordered writes.

use mapback::MmapOptions;
use mapback::store::{JournalOptions, JournalStore, MemoryStore, Store, Write};
use mapback_testkit::store::{Call, Crash, CrashDisk, FaultyStore, Random, Survivors};
use std::io;
use std::sync::Arc;

const LEN: usize = 64 << 10;
/// Small, so that checkpoints come often.
const LIMIT: u64 = 96 << 10;

/// What is known of a commit: when it was begun and done, in steps of the disk, and the content after it.
struct Commit {
    done: usize,
    content: Vec<u8>,
    /// What attempts at it that failed would have made of the content: whole, if at all, as long as it is not done.
    attempts: Vec<Vec<u8>>,
}

/// Which stores of the disk are what.
const MAIN: usize = 0;
const JOURNAL: usize = 1;

/// Opens what a crash left and compares with the commits. `Err`: what is wrong.
fn check(crash: &Crash, survivors: Survivors, commits: &[Commit]) -> Result<(), String> {
    let stores = crash.stores(survivors);
    let (main, journal) = (stores[MAIN].clone(), stores[JOURNAL].clone());
    let opened = JournalStore::open(main.clone(), journal, JournalOptions::default());
    let opened = opened.map_err(|error| format!("step {}, {survivors:?}: {error}", crash.at))?;
    drop(opened);
    // The last commit that was acknowledged, and the one under way.
    let last =
        commits.iter().rposition(|commit| commit.done <= crash.at).expect("the first is before all steps");
    let found = main.to_vec();
    let next = commits.get(last + 1);
    let attempted = next.is_some_and(|next| next.attempts.contains(&found) || next.content == found);
    if commits[last].content == found || attempted {
        return Ok(());
    }
    let nearest = commits.iter().position(|commit| commit.content == found);
    Err(format!("step {}, {survivors:?}: neither commit {last} nor the next, but {nearest:?}", crash.at))
}

fn check_all(disk: &CrashDisk, commits: &[Commit], seeds: u64) -> Result<usize, String> {
    let mut result = Ok(0);
    disk.crashes(|crash| {
        let some = (0..seeds).map(Survivors::Some);
        for survivors in [Survivors::All, Survivors::None].into_iter().chain(some) {
            let Ok(count) = &mut result else { return };
            match check(crash, survivors, commits) {
                Ok(()) => *count += 1,
                Err(error) => result = Err(error),
            }
        }
    });
    result
}

/// 200 commits through a map, each of some scattered stores.
fn workload(main: Arc<dyn Store>, journal: Arc<dyn Store>, disk: &CrashDisk) -> Vec<Commit> {
    let mut random = Random(42);
    let mut options = MmapOptions::new();
    let mut map = options.journal_in(journal).journal_limit(LIMIT).map_mut(main).unwrap();
    let mut commits = vec![Commit { done: 0, content: map.to_vec(), attempts: Vec::new() }];
    for nth in 0..200 {
        for _ in 0..random.below(4) + 1 {
            let at = random.below(LEN);
            let len = random.below(if nth % 10 == 0 { 20_000 } else { 300 }).min(LEN - at);
            map[at..at + len].fill(random.number() as u8);
        }
        map.flush_atomic().unwrap();
        commits.push(Commit { done: disk.steps(), content: map.to_vec(), attempts: Vec::new() });
    }
    map.close().unwrap();
    commits
}

#[test]
fn every_crash_leaves_the_state_before_or_after_a_commit() {
    let disk = CrashDisk::new();
    let (main, journal) = (disk.store(vec![0; LEN]), disk.store(Vec::new()));
    let commits = workload(main, journal, &disk);
    let states = check_all(&disk, &commits, 4).unwrap();
    assert!(states > 6 * 400, "only {states} states were looked at");
}

/// Commits of several parts each, some of which fail half-way and are tried again.
#[test]
fn crashes_in_commits_of_many_parts_and_after_failed_ones() {
    for seed in 0..6 {
        let disk = CrashDisk::new();
        let main = disk.store(vec![0; LEN]);
        let journal = Arc::new(FaultyStore::new(Shared(disk.store(Vec::new()))));
        let options = JournalOptions::default().limit(LIMIT).part(3000);
        let store = JournalStore::open(main.clone(), journal.clone(), options).unwrap();
        let mut random = Random(seed);
        let mut content = vec![0; LEN];
        let mut commits = vec![Commit { done: 0, content: content.clone(), attempts: Vec::new() }];
        for _ in 0..40 {
            let at = random.below(LEN - 20_000);
            // The same length each time: what a failed attempt left fits exactly behind what the next one writes.
            content[at..at + 20_000].fill(random.number() as u8);
            let mut attempts = Vec::new();
            for attempt in 0.. {
                match random.below(4) {
                    0 if attempt < 2 => {
                        journal.fail(Call::Write, random.below(8), io::ErrorKind::StorageFull)
                    }
                    1 if attempt < 2 => journal.fail(Call::Sync, 0, io::ErrorKind::Other),
                    _ => {}
                }
                let mut batch = [Write::new(at as u64, &content[at..at + 20_000])];
                store.write(&mut batch);
                let committed = store.sync();
                journal.mend();
                if committed.is_ok() {
                    break;
                }
                attempts.push(content.clone());
                if random.below(2) == 0 {
                    // Another content at the next try.
                    content[at..at + 20_000].fill(random.number() as u8);
                }
            }
            commits.push(Commit { done: disk.steps(), content: content.clone(), attempts });
        }
        assert!(journal.failed() > 5);
        std::mem::forget(store);
        check_all(&disk, &commits, 8).unwrap();
    }
}

/// A store that several own.
struct Shared<S>(Arc<S>);

impl<S: Store> Store for Shared<S> {
    fn identity(&self) -> io::Result<mapback::store::Identity> {
        self.0.identity()
    }
    fn stat(&self) -> io::Result<mapback::store::Stat> {
        self.0.stat()
    }
    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize> {
        self.0.read_at(buf, off)
    }
    fn write(&self, batch: &mut [Write<'_>]) {
        self.0.write(batch);
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn resize(&self, len: u64) -> io::Result<()> {
        self.0.resize(len)
    }
}

#[test]
fn a_journal_that_is_not_synced_before_the_commit_is_done_is_caught() {
    let disk = CrashDisk::new();
    let (main, journal) = (disk.store(vec![0; LEN]), disk.deaf_store(Vec::new()));
    let commits = workload(main, journal, &disk);
    check_all(&disk, &commits, 4).unwrap_err();
}

#[test]
fn a_checkpoint_that_does_not_sync_the_file_before_it_begins_the_journal_anew_is_caught() {
    let disk = CrashDisk::new();
    let (main, journal) = (disk.deaf_store(vec![0; LEN]), disk.store(Vec::new()));
    let commits = workload(main, journal, &disk);
    check_all(&disk, &commits, 4).unwrap_err();
}

/// A store that forgets the sync after the write of a slot, which is in the first two blocks.
struct ForgetsSlots {
    inner: Arc<mapback_testkit::store::CrashStore>,
    slot: std::sync::atomic::AtomicBool,
}

impl Store for ForgetsSlots {
    fn identity(&self) -> io::Result<mapback::store::Identity> {
        self.inner.identity()
    }
    fn stat(&self) -> io::Result<mapback::store::Stat> {
        self.inner.stat()
    }
    fn read_at(&self, buf: &mut [u8], off: u64) -> io::Result<usize> {
        self.inner.read_at(buf, off)
    }
    fn write(&self, batch: &mut [Write<'_>]) {
        let slot = batch.iter().any(|write| write.off < 8192);
        self.slot.store(slot, std::sync::atomic::Ordering::Relaxed);
        self.inner.write(batch);
    }
    fn sync(&self) -> io::Result<()> {
        if self.slot.swap(false, std::sync::atomic::Ordering::Relaxed) { Ok(()) } else { self.inner.sync() }
    }
    fn resize(&self, len: u64) -> io::Result<()> {
        self.inner.resize(len)
    }
}

#[test]
fn a_new_slot_that_is_not_synced_before_the_next_commit_is_caught() {
    let disk = CrashDisk::new();
    let main = disk.store(vec![0; LEN]);
    let journal = Arc::new(ForgetsSlots { inner: disk.store(Vec::new()), slot: false.into() });
    let commits = workload(main, journal, &disk);
    check_all(&disk, &commits, 4).unwrap_err();
}

/// What the file itself would be after a crash, without a replay: the check must not be blind.
#[test]
fn without_a_replay_the_file_is_torn() {
    let disk = CrashDisk::new();
    let (main, journal) = (disk.store(vec![0; LEN]), disk.store(Vec::new()));
    let commits = workload(main, journal, &disk);
    let mut torn = 0;
    disk.crashes(|crash| {
        let found: Arc<MemoryStore> = crash.stores(Survivors::Some(1))[MAIN].clone();
        torn += usize::from(!commits.iter().any(|commit| commit.content == found.to_vec()));
    });
    assert!(torn > 0);
}
