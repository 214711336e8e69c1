//! Random sequences of calls against a plain `Vec<u8>`, on each tracker, also with stores that fail.

use super::trackers;
use mapback::store::{MemoryStore, Store, Write};
use mapback::{MmapMut, MmapOptions, OnConflict, RemapOptions, Snapshot, TrackerKind};
use mapback_testkit::store::FaultyStore;
use proptest::prelude::*;
use std::sync::Arc;

const LEN: usize = 40_000;

#[derive(Clone, Debug)]
enum Op {
    Store { at: usize, len: usize, value: u8 },
    Flush,
    FlushAsync,
    FlushRange { at: usize, len: usize },
    FlushAtomic,
    Snapshot,
    Revert,
    Reload,
    Outsider { at: usize, value: u8 },
    Remap { len: usize },
    ReadOnlyAndBack,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0..LEN;
    prop_oneof![
        8 => (at.clone(), 1..6000usize, any::<u8>()).prop_map(|(at, len, value)| Op::Store { at, len, value }),
        3 => Just(Op::Flush),
        1 => Just(Op::FlushAsync),
        2 => (at.clone(), 1..9000usize).prop_map(|(at, len)| Op::FlushRange { at, len }),
        3 => Just(Op::FlushAtomic),
        2 => Just(Op::Snapshot),
        1 => Just(Op::Revert),
        1 => Just(Op::Reload),
        1 => (at, any::<u8>()).prop_map(|(at, value)| Op::Outsider { at, value }),
        1 => (0..LEN).prop_map(|len| Op::Remap { len }),
        1 => Just(Op::ReadOnlyAndBack),
        1 => Just(Op::Reopen),
    ]
}

/// The map, and what it and its store should hold.
struct World {
    options: MmapOptions,
    store: Arc<FaultyStore<MemoryStore>>,
    map: Option<MmapMut>,
    model: Vec<u8>,
    snapshots: Vec<(Snapshot, Vec<u8>)>,
    /// A call failed: what stands in the store is not known until a flush succeeds.
    failing: bool,
}

impl World {
    fn new(kind: TrackerKind, offset: usize) -> World {
        let content: Vec<u8> = (0..LEN).map(|n| (n / 7) as u8).collect();
        let store = Arc::new(FaultyStore::new(MemoryStore::new(content.clone())));
        let mut options = MmapOptions::new();
        options.tracker(kind).offset(offset as u64).journal_limit(60_000);
        options.journal_in(Arc::new(MemoryStore::new(Vec::new())));
        let map = Some(options.map_mut(store.clone()).unwrap());
        let model = content[offset..].to_vec();
        World { options, store, map, model, snapshots: Vec::new(), failing: false }
    }

    fn map(&mut self) -> &mut MmapMut {
        self.map.as_mut().expect("there is always one between two operations")
    }

    fn stored(&self) -> Vec<u8> {
        let offset = LEN - self.full();
        self.store.inner().to_vec()[offset..].to_vec()
    }

    fn full(&self) -> usize {
        self.model.len()
    }

    fn run(&mut self, op: &Op) {
        let len = self.map().len();
        match *op {
            Op::Store { at, len: n, value } => {
                let range = at.min(len)..(at + n).min(len);
                self.map()[range.clone()].fill(value);
                self.model[range].fill(value);
            }
            Op::Flush => {
                let done = self.map().flush();
                self.flushed(done, 0..len);
            }
            Op::FlushAsync => {
                let done = self.map().flush_async();
                self.flushed(done, 0..len);
            }
            Op::FlushRange { at, len: n } => {
                let range = at.min(len)..(at + n).min(len);
                let done = self.map().flush_range(range.start, range.len());
                self.flushed(done, range);
            }
            Op::FlushAtomic => {
                let done = self.map().flush_atomic();
                // What is committed is in the journal. A plain flush of nothing brings it into the store.
                self.flushed(done, 0..0);
            }
            Op::Snapshot => {
                let snapshot = self.map().snapshot().unwrap();
                let now = self.model[..len].to_vec();
                assert!(snapshot[..] == now, "a snapshot differs at once");
                self.snapshots.push((snapshot, now));
            }
            Op::Revert | Op::Reload | Op::Outsider { .. } | Op::Remap { .. } if self.failing => {}
            Op::Revert => self.revert(),
            Op::Reload => self.map().reload().unwrap(),
            Op::Outsider { .. } => {}
            Op::Remap { len } => self.remap(len),
            Op::ReadOnlyAndBack => {
                let map = self.map.take().expect("present").make_read_only().unwrap();
                self.map = Some(map.make_mut().unwrap());
            }
            Op::Reopen => self.reopen(),
        }
        let map = self.map.as_ref().expect("present");
        assert!(map[..] == self.model[..map.len()], "the map differs after {op:?}");
    }

    fn flushed(&mut self, done: std::io::Result<()>, range: std::ops::Range<usize>) {
        match done {
            Ok(()) => {
                assert!(self.stored()[range.clone()] == self.model[range], "a flush is not in the store")
            }
            Err(error) => {
                assert!(self.store.failed() > 0, "{error}");
                self.failing = true;
            }
        }
    }

    fn revert(&mut self) {
        self.map().flush().unwrap();
        let before = self.model.clone();
        self.map().fill(0xab);
        self.map().revert().unwrap();
        self.model = before;
    }

    fn remap(&mut self, new: usize) {
        let new = new.min(self.full());
        let old = self.map().len();
        // What is cut off goes to the store; what comes back comes from there.
        self.map().remap(new, RemapOptions::new().may_move(true)).unwrap();
        if new < old {
            self.map().flush().unwrap();
            assert!(self.stored()[new..old] == self.model[new..old], "what was cut off is not in the store");
        }
    }

    fn reopen(&mut self) {
        let failed = self.store.failed();
        self.store.mend();
        let done = self.map.take().expect("present").close();
        if failed == 0 {
            done.unwrap();
        }
        assert!(self.stored() == self.model, "the end of a map is not in the store");
        self.failing = false;
        self.map = Some(self.options.map_mut(self.store.clone()).unwrap());
    }

    fn end(mut self) {
        self.store.mend();
        self.map.take().expect("present").close().unwrap();
        assert!(self.stored() == self.model, "the end of a map is not in the store");
        for (snapshot, model) in &self.snapshots {
            assert!(snapshot[..] == *model, "a snapshot changed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn maps_agree_with_a_vector(ops in prop::collection::vec(op(), 1..60), offset in 0..9000usize) {
        for kind in trackers() {
            let mut world = World::new(kind, offset);
            for op in &ops {
                world.run(op);
            }
            world.end();
        }
    }

    #[test]
    fn maps_lose_nothing_on_stores_that_fail(
        ops in prop::collection::vec(op(), 1..60),
        seed in any::<u64>(),
    ) {
        for kind in trackers() {
            let mut world = World::new(kind, 100);
            for op in &ops {
                // Only writing fails, so that each failure leaves something to be done.
                world.store.mend();
                if matches!(op, Op::Flush | Op::FlushAsync | Op::FlushRange { .. } | Op::FlushAtomic) {
                    world.store.fail_at_random(seed, 4);
                }
                world.run(op);
                world.store.mend();
            }
            world.end();
        }
    }

    /// Another program changes bytes; with `Merge` each byte is what the last who changed it made of it.
    #[test]
    fn merging_keeps_the_bytes_of_both(
        ops in prop::collection::vec(op(), 1..60),
    ) {
        for kind in trackers() {
            let mut world = World::new(kind, 0);
            world.map = None;
            world.options.on_conflict(OnConflict::Merge);
            world.map = Some(world.options.map_mut(world.store.clone()).unwrap());
            // Odd bytes are the map's, even ones the other's.
            for op in &ops {
                match *op {
                    Op::Store { at, value, .. } => {
                        world.map()[at | 1] = value;
                        world.model[at | 1] = value;
                    }
                    Op::Outsider { at, value } => {
                        world.store.inner().write(&mut [Write::new(at as u64 & !1, &[value])]);
                        world.model[at & !1] = value;
                    }
                    Op::Flush | Op::FlushAtomic => world.map().flush().unwrap(),
                    Op::FlushAsync => world.map().flush_async().unwrap(),
                    Op::Reload => {
                        world.map().reload().unwrap();
                        let model = world.model.clone();
                        assert!(world.map()[..] == model, "{kind}: after a reload both changes show");
                    }
                    _ => {}
                }
            }
            world.end();
        }
    }
}
