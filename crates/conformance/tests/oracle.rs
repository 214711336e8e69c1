//! A model test against a naive oracle, for systems whose own `mmap` cannot be asked: random sequences of calls on one
//! file, after each of which the maps, the file and what an access may do must be what the oracle says.
//!
//! On Linux the kernel's own `mmap` answers, or mapback's under `mapback run`, which shows that the oracle is right.
//! Variables: `ORACLE_CASES` (200), `MAPBACK_TEST_DIR`.

#[cfg(windows)]
extern crate mapback_windows_libc as libc;

use libc::{MAP_PRIVATE, MAP_SHARED, MS_ASYNC, MS_INVALIDATE, MS_SYNC, PROT_READ, PROT_WRITE};
use mapback_conformance::calls::{ftruncate, mmap, mprotect, msync, munmap};
use mapback_conformance::process::{maps_are_alone, tracked_as_whole};
use mapback_conformance::{TestFile, own_process, page, probe};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Pages of the file at the most.
const PAGES: usize = 40;
/// Maps at one time.
const MAPS: usize = 4;
/// Pages of a map at the most.
const MOST: usize = 12;

#[derive(Clone, Debug)]
enum Op {
    Map {
        slot: usize,
        from: usize,
        pages: usize,
        shared: bool,
        write: bool,
    },
    Unmap {
        slot: usize,
        at: usize,
        pages: usize,
    },
    Protect {
        slot: usize,
        at: usize,
        pages: usize,
        prot: i32,
    },
    Sync {
        slot: usize,
        flags: i32,
    },
    Store {
        slot: usize,
        at: usize,
        len: usize,
        value: u8,
    },
    /// With syncs around it, by which the library learns of it where nobody else tells it.
    Resize {
        len: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let range = (0..PAGES, 1..MOST);
    let prot = prop_oneof![Just(0), Just(PROT_READ), Just(PROT_READ | PROT_WRITE)];
    let flags = prop_oneof![Just(MS_SYNC), Just(MS_ASYNC), Just(MS_SYNC | MS_INVALIDATE)];
    let mostly = || prop::bool::weighted(0.8);
    prop_oneof![
        4 => (0..MAPS, range.clone(), mostly(), mostly())
            .prop_map(|(slot, (from, pages), shared, write)| Op::Map { slot, from, pages, shared, write }),
        2 => (0..MAPS, range.clone()).prop_map(|(slot, (at, pages))| Op::Unmap { slot, at, pages }),
        2 => (0..MAPS, range, prot)
            .prop_map(|(slot, (at, pages), prot)| Op::Protect { slot, at, pages, prot }),
        3 => (0..MAPS, flags).prop_map(|(slot, flags)| Op::Sync { slot, flags }),
        12 => (0..MAPS, 0..MOST * 4096, 1..9000usize, any::<u8>())
            .prop_map(|(slot, at, len, value)| Op::Store { slot, at, len, value }),
        1 => (0..PAGES * 4096).prop_map(|len| Op::Resize { len }),
    ]
}

/// One page of a map.
#[derive(Clone)]
struct Page {
    prot: i32,
    /// What it shows, if it is private; `None`: shared, or past the end of the file when it was mapped.
    own: Option<Vec<Own>>,
}

/// One byte of a private page.
#[derive(Clone, Copy, PartialEq)]
enum Own {
    /// As the file had it.
    Seen(u8),
    /// The program stored it.
    Mine(u8),
    /// The file changed: POSIX leaves open what it shows.
    Open,
}

struct Map {
    addr: usize,
    from: usize,
    shared: bool,
    /// `None`: unmapped.
    pages: Vec<Option<Page>>,
}

impl Map {
    fn len(&self) -> usize {
        self.pages.len() * page()
    }

    /// The pages that an operation means, cut at the map's end.
    fn clip(&self, at: usize, pages: usize) -> std::ops::Range<usize> {
        let at = at % self.pages.len();
        at..(at + pages).min(self.pages.len())
    }

    fn at(&self, pages: &std::ops::Range<usize>) -> (usize, usize) {
        (self.addr + pages.start * page(), pages.len() * page())
    }
}

/// What the file and all shared maps show; what is past its end is zero.
struct Oracle {
    file: TestFile,
    content: Vec<u8>,
    len: usize,
    maps: [Option<Map>; MAPS],
}

impl Oracle {
    fn new(file: TestFile) -> Oracle {
        let len = file.len();
        let mut content = file.stored_all();
        content.resize((PAGES + MOST) * page(), 0);
        Oracle { file, content, len, maps: Default::default() }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Map { slot, from, pages, shared, write } => self.map(slot, from, pages, shared, write),
            Op::Unmap { slot, at, pages } => self.unmap(slot, at, pages),
            Op::Protect { slot, at, pages, prot } => self.protect(slot, at, pages, prot),
            Op::Sync { slot, flags } => self.sync(slot, flags),
            Op::Store { slot, at, len, value } => self.store(slot, at, len, value),
            Op::Resize { len } => self.resize(len),
        }
        self.check();
        assert_eq!(self.file.len(), self.len, "the file's length");
    }

    fn map(&mut self, slot: usize, from: usize, pages: usize, shared: bool, write: bool) {
        self.drop_map(slot);
        if shared && maps_are_alone() && self.maps.iter().flatten().any(|map| map.shared) {
            return; // on purpose: with `write-watch` a file is mapped shared once at a time
        }
        let prot = if write { PROT_READ | PROT_WRITE } else { PROT_READ };
        let flags = if shared { MAP_SHARED } else { MAP_PRIVATE };
        let off = (from * page()) as i64;
        let addr = mmap(0, pages * page(), prot, flags, self.file.fd(), off).expect("mmap");
        let own = |at: usize| {
            let start = (from + at) * page();
            let seen = || self.content[start..start + page()].iter().map(|byte| Own::Seen(*byte)).collect();
            (!shared && start < self.len).then(seen)
        };
        let pages = (0..pages).map(|at| Some(Page { prot, own: own(at) })).collect();
        self.maps[slot] = Some(Map { addr, from, shared, pages });
    }

    fn drop_map(&mut self, slot: usize) {
        let Some(map) = self.maps[slot].take() else { return };
        // In a hole another map may have come to lie.
        for at in (0..map.pages.len()).filter(|at| map.pages[*at].is_some()) {
            munmap(map.addr + at * page(), page()).expect("munmap");
        }
    }

    fn unmap(&mut self, slot: usize, at: usize, pages: usize) {
        let Some(map) = &mut self.maps[slot] else { return };
        let range = map.clip(at, pages);
        let (addr, len) = map.at(&range);
        if map.pages[range.clone()].iter().any(Option::is_none) {
            return;
        }
        munmap(addr, len).expect("munmap of a part");
        map.pages[range].fill(None);
        for byte in [0, len - 1] {
            assert!(probe::load(addr + byte).is_err() && probe::store(addr + byte, 1).is_err(), "it is gone");
        }
        if map.pages.iter().all(Option::is_none) {
            self.maps[slot] = None;
        }
    }

    fn protect(&mut self, slot: usize, at: usize, pages: usize, prot: i32) {
        let Some(map) = &mut self.maps[slot] else { return };
        let range = map.clip(at, pages);
        if map.pages[range.clone()].iter().any(Option::is_none) {
            return;
        }
        let (addr, len) = map.at(&range);
        mprotect(addr, len, prot).expect("mprotect");
        map.pages[range].iter_mut().flatten().for_each(|page| page.prot = prot);
    }

    fn sync(&mut self, slot: usize, flags: i32) {
        // Under `whole` every page counts as the program's own, which MS_INVALIDATE must not replace; that is P24.
        let flags = if tracked_as_whole() { flags & !MS_INVALIDATE } else { flags };
        let Some(map) = &self.maps[slot] else { return };
        let whole = map.pages.iter().all(Option::is_some);
        let done = msync(map.addr, map.len(), flags);
        assert!(done.is_ok() || !whole, "msync: {done:?}");
        if map.shared && flags & MS_SYNC != 0 {
            for at in (0..map.pages.len()).filter(|at| map.pages[*at].is_some()) {
                self.compare_file(map.from + at, "after msync");
            }
        }
    }

    fn store(&mut self, slot: usize, at: usize, len: usize, value: u8) {
        let Some(map) = &mut self.maps[slot] else { return };
        let at = at % map.len();
        let mut changed = Vec::new();
        for byte in (at..(at + len).min(map.len())).step_by(37) {
            let content = map.from * page() + byte;
            let there = map.shared && content / page() * page() < self.len;
            let Some(shown) = &map.pages[byte / page()] else { continue };
            let may = shown.prot & PROT_WRITE != 0 && (there || shown.own.is_some());
            let stored = probe::store(map.addr + byte, value);
            assert_eq!(stored.is_ok(), may, "a store at byte {byte} of map {slot}");
            if !may {
                continue;
            }
            match map.pages[byte / page()].as_mut().and_then(|p| p.own.as_mut()) {
                Some(own) => own[byte % page()] = Own::Mine(value),
                None => {
                    self.content[content] = value;
                    changed.push(content);
                }
            }
        }
        self.open(&changed);
    }

    /// Bytes of the file changed, which private maps may show or not.
    fn open(&mut self, changed: &[usize]) {
        for map in self.maps.iter_mut().flatten() {
            let start = map.from * page();
            for byte in changed.iter().filter_map(|byte| byte.checked_sub(start)) {
                let shown = map.pages.get_mut(byte / page()).and_then(Option::as_mut);
                let own = shown.and_then(|page| page.own.as_mut()).map(|own| &mut own[byte % page()]);
                if let Some(seen @ Own::Seen(_)) = own {
                    *seen = Own::Open;
                }
            }
        }
    }

    fn resize(&mut self, len: usize) {
        // What private maps show of a file that changes its length is left open too.
        for slot in 0..MAPS {
            if self.maps[slot].as_ref().is_some_and(|map| !map.shared) {
                self.drop_map(slot);
            }
        }
        self.sync_all();
        ftruncate(self.file.fd(), len as i64).expect("ftruncate");
        // Of what was stored past the old end nothing is in the file.
        self.content[len.min(self.len)..].fill(0);
        self.len = len;
        self.sync_all();
    }

    fn sync_all(&self) {
        for map in self.maps.iter().flatten() {
            // ENOMEM where there is a hole; the rest is synced all the same.
            let _ = msync(map.addr, map.len(), MS_SYNC);
        }
    }

    /// What every map shows, and whether it may be read.
    fn check(&self) {
        for map in self.maps.iter().flatten() {
            for (at, page_of_map) in map.pages.iter().enumerate().filter(|(_, page)| page.is_some()) {
                let start = (map.from + at) * page();
                for byte in [0, 1, 777, page() - 1] {
                    let shown = match page_of_map {
                        Some(Page { prot: 0, .. }) | None => None,
                        Some(Page { own: Some(own), .. }) => Some(own[byte]),
                        Some(_) if map.shared && start < self.len => {
                            Some(Own::Seen(self.content[start + byte]))
                        }
                        Some(_) => None,
                    };
                    let found = probe::load(map.addr + at * page() + byte).ok();
                    // What was stored past the end of the file may stay there for a while.
                    let past = map.shared && start + byte >= self.len;
                    let open = past || shown == Some(Own::Open);
                    let place = format!("byte {byte} of page {at} of a map from page {}", map.from);
                    match shown {
                        None => assert_eq!(found, None, "{place}"),
                        Some(_) if open => assert!(found.is_some(), "{place}"),
                        Some(Own::Seen(value) | Own::Mine(value)) => {
                            assert_eq!(found, Some(value), "{place}")
                        }
                        Some(Own::Open) => {}
                    }
                }
            }
        }
    }

    fn compare_file(&self, at: usize, when: &str) {
        let start = at * page();
        if start < self.len {
            let end = (start + page()).min(self.len);
            assert!(
                self.file.stored(start, end - start) == self.content[start..end],
                "page {at} of the file {when}"
            );
        }
    }

    fn finish(mut self) {
        (0..MAPS).for_each(|slot| self.drop_map(slot));
        (0..PAGES).for_each(|at| self.compare_file(at, "after everything was unmapped"));
        std::fs::remove_file(self.file.path()).expect("the file is there");
    }
}

#[test]
fn maps_and_file_are_what_the_oracle_says() {
    own_process!();
    let cases = std::env::var("ORACLE_CASES").map_or(200, |n| n.parse().expect("ORACLE_CASES is a number"));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    // The same sequences each time, so that a change is judged by what it changed; others for another number.
    let seed = std::env::var("ORACLE_SEED").map_or(7, |n| n.parse().expect("ORACLE_SEED is a number"));
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[u64::to_le_bytes(seed); 4].concat());
    let sequences = (0..PAGES * 4096, prop::collection::vec(op(), 1..40));
    let outcome = TestRunner::new_with_rng(config, random).run(&sequences, |(len, ops)| {
        let mut oracle = Oracle::new(TestFile::new(len));
        ops.iter().for_each(|op| oracle.run(op));
        oracle.finish();
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
