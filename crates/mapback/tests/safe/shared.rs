//! Maps that processes share, in several processes.

use super::{Fixture, trackers};
use mapback::{Error, MmapOptions, MmapShared, TrackerKind};
use mapback_testkit::fork;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where this program finds its file when it is a peer.
const FILE: &str = "MAPBACK_TEST_PEER_FILE";
const LEN: usize = 100_000;

/// A process that has the file mapped and does what it is told.
struct Peer {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Peer {
    fn start(file: &Fixture, tracker: TrackerKind) -> Peer {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shared::the_peer", "--test-threads=1", "--nocapture"])
            .env(FILE, &file.path)
            .env("MAPBACK_TRACKER", tracker.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut peer = Peer { child, to, from };
        peer.ask("load 0");
        peer
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.to.as_mut().unwrap(), "{what}").unwrap();
    }

    fn answer(&mut self) -> u64 {
        for line in self.from.by_ref().lines() {
            // The test harness writes lines of its own, and half of one.
            if let Some(number) = line.unwrap().strip_prefix("= ") {
                return number.parse().unwrap();
            }
        }
        panic!("the peer ended: {:?}", self.child.wait());
    }

    fn ask(&mut self, what: &str) -> u64 {
        self.tell(what);
        self.answer()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it drop its map and end.
    fn end(mut self) {
        drop(self.to.take());
        std::io::copy(&mut self.from, &mut std::io::sink()).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

/// What a peer does when it is told.
fn obey(cells: &MmapShared<AtomicU64>, line: &str) -> u64 {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |nth: usize| words[nth].parse::<u64>().unwrap();
    let cell = words.get(1).map_or(&cells[0], |nth| &cells[nth.parse::<usize>().unwrap()]);
    match words[0] {
        "load" => cell.load(Ordering::Acquire),
        "store" => cell.swap(number(2), Ordering::AcqRel),
        "add" => (0..number(2)).map(|_| cell.fetch_add(1, Ordering::AcqRel)).last().unwrap(),
        "flush" => cells.flush().map_or(1, |()| 0),
        other => panic!("{other}"),
    }
}

fn cells(file: File) -> MmapShared<AtomicU64> {
    MmapShared::map_shared(file).unwrap().into_cells().unwrap()
}

/// What the tests below start, in a process of its own; by itself it obeys itself.
#[test]
fn the_peer() {
    if let Some(path) = std::env::var_os(FILE) {
        let cells = cells(File::options().read(true).write(true).open(PathBuf::from(path)).unwrap());
        std::io::stdin().lines().for_each(|line| println!("\n= {}", obey(&cells, &line.unwrap())));
        return;
    }
    let file = Fixture::new(&[0; LEN]);
    let cells = cells(file.open());
    let answers = ["store 3 5", "add 3 2", "load 3", "flush"].map(|line| obey(&cells, line));
    assert_eq!((answers, in_file(&file, 3)), ([0, 6, 7, 0], 7));
}

fn in_file(file: &Fixture, cell: usize) -> u64 {
    u64::from_ne_bytes(file.content()[cell * 8..][..8].try_into().unwrap())
}

#[test]
fn what_one_process_stores_the_other_sees_at_once_and_may_flush() {
    for kind in trackers() {
        let file = Fixture::new(&[0; LEN]);
        let (mut a, mut b) = (Peer::start(&file, kind), Peer::start(&file, kind));
        for n in 1..20 {
            a.ask(&format!("store 1000 {n}"));
            assert_eq!(b.ask("load 1000"), n, "{kind}");
            b.ask(&format!("store 9000 {n}"));
            assert_eq!(a.ask("load 9000"), n, "{kind}");
        }
        assert_eq!(b.ask("flush"), 0);
        assert_eq!((in_file(&file, 1000), in_file(&file, 9000)), (19, 19), "{kind}");
        a.ask("store 1 5");
        a.end();
        assert_eq!(in_file(&file, 1), 5, "{kind}: the end of a map writes back");
        assert_eq!(b.ask("load 1"), 5, "{kind}");
        b.end();
        assert_eq!(file.content().len(), LEN, "{kind}");
    }
}

#[test]
fn two_processes_count_together() {
    const EACH: u64 = 200_000;
    for kind in trackers() {
        let file = Fixture::new(&[0; LEN]);
        let (mut a, mut b) = (Peer::start(&file, kind), Peer::start(&file, kind));
        a.tell(&format!("add 7 {EACH}"));
        b.tell(&format!("add 7 {EACH}"));
        // Pages are armed anew while both store.
        for _ in 0..3 {
            a.tell("flush");
            b.tell("flush");
            a.tell("add 7 1000");
        }
        let [of_a, of_b] = [(&mut a, 7), (&mut b, 4)]
            .map(|(peer, count)| (0..count).map(|_| peer.answer()).collect::<Vec<_>>());
        assert_eq!([of_a[1], of_a[3], of_a[5]], [0; 3], "{kind}: a flush failed");
        assert_eq!(of_b[1..], [0; 3], "{kind}: a flush failed");
        assert_eq!(a.ask("load 7"), 2 * EACH + 3000, "{kind}");
        assert_eq!(b.ask("flush"), 0);
        assert_eq!(in_file(&file, 7), 2 * EACH + 3000, "{kind}");
        a.end();
        b.end();
    }
}

#[test]
fn a_killed_process_loses_nothing() {
    for kind in trackers() {
        let file = Fixture::new(&[0; LEN]);
        let (mut a, mut b) = (Peer::start(&file, kind), Peer::start(&file, kind));
        a.ask("store 5 55");
        a.kill();
        assert_eq!(b.ask("load 5"), 55, "{kind}");
        assert_eq!(b.ask("flush"), 0);
        assert_eq!(in_file(&file, 5), 55, "{kind}: who lives on flushes it");
        b.ask("store 6 66");
        b.kill();
        assert_eq!(in_file(&file, 6), 0, "{kind}");
        let mut c = Peer::start(&file, kind);
        assert_eq!(c.ask("load 6"), 66, "{kind}: nobody was left, and the next one has it");
        c.end();
        assert_eq!(in_file(&file, 6), 66, "{kind}");
    }
}

#[test]
fn parts_of_a_file_are_read_written_and_flushed() {
    let file = Fixture::new(&[3; 20_000]);
    let map = MmapOptions::new().offset(5001).len(9000).map_shared(file.open()).unwrap();
    assert_eq!((map.len(), map[0].load(Ordering::Relaxed)), (9000, 3));
    map.write(8997, &[4, 5, 6]);
    map.write(0, &[1]);
    let mut bytes = [0; 4];
    map.read(8996, &mut bytes);
    assert_eq!(bytes, [3, 4, 5, 6]);
    map.flush_range(8999, 1).unwrap();
    assert_eq!(file.content()[13_996..14_002], [3, 3, 4, 5, 6, 3][..], "what is in the page goes with it");
    map.flush().unwrap();
    assert_eq!(file.content()[5000..5003], [3, 1, 3]);
    assert_eq!(map.flush_range(9000, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(map.into_cells::<AtomicU32>().unwrap_err().kind(), ErrorKind::InvalidInput);
    let cells = MmapOptions::new().offset(4).len(11).map_shared(file.open()).unwrap();
    assert_eq!(cells.into_cells::<AtomicU32>().unwrap().len(), 2);
}

#[test]
#[should_panic]
fn a_copy_from_past_the_end_panics() {
    let file = Fixture::new(&[3; 10]);
    MmapShared::map_shared(file.open()).unwrap().read(8, &mut [0; 3]);
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let file = Fixture::new(&[0; 100]);
    let kind = |done: std::io::Result<MmapShared>| done.unwrap_err().kind();
    assert_eq!(kind(MmapShared::map_shared(File::open(&file.path).unwrap())), ErrorKind::PermissionDenied);
    assert_eq!(kind(MmapOptions::new().offset(101).map_shared(file.open())), ErrorKind::InvalidInput);
    assert_eq!(kind(MmapOptions::new().len(101).map_shared(file.open())), ErrorKind::InvalidInput);
    let dir = File::open(file.path.parent().unwrap()).unwrap();
    assert!(MmapShared::map_shared(&dir).is_err());
    let memory = File::options().read(true).write(true).open("/proc/self/comm").unwrap();
    assert!(MmapOptions::new().len(0).map_shared(&memory).is_ok_and(|map| map.is_empty()));
    let empty = MmapOptions::new().offset(100).map_shared(file.open()).unwrap();
    assert!(empty.is_empty() && empty.flush().is_ok());
}

#[test]
fn threads_share_cells_and_another_map_of_the_file() {
    fn send_sync<T: Send + Sync + std::fmt::Debug + 'static>() {}
    send_sync::<MmapShared>();
    send_sync::<MmapShared<AtomicU64>>();
    let file = Fixture::new(&[0; LEN]);
    let map = MmapShared::map_shared(file.open()).unwrap().into_cells::<AtomicU64>().unwrap();
    let bytes: MmapShared<AtomicU8> = MmapShared::map_shared(file.open()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).map(|_| map[9].fetch_add(1, Ordering::Relaxed)).max());
        }
        scope.spawn(|| (0..20).for_each(|_| map.flush().unwrap()));
    });
    let mut read = [0; 8];
    bytes.read(72, &mut read);
    assert_eq!(u64::from_ne_bytes(read), 40_000);
    drop(map);
    bytes.close().unwrap();
    assert_eq!(in_file(&file, 9), 40_000);
}

#[test]
fn a_forked_child_cannot_flush_and_its_end_ends_no_map() {
    let file = Fixture::new(&[0; LEN]);
    let map = MmapShared::map_shared(file.open()).unwrap();
    map[0].store(1, Ordering::Relaxed);
    let refused = |done: std::io::Result<()>| {
        done.is_err_and(|error| matches!(Error::of(&error), Some(Error::Forked { .. })))
    };
    let mut own = mapback::MmapMut::map_mut(Fixture::new(&[0; 10]).open()).unwrap();
    own[0] = 1;
    let status = fork::run(|| {
        map[1].store(2, Ordering::Relaxed);
        let again = MmapShared::map_shared(file.open()).map(drop);
        i32::from(!(refused(map.flush()) && refused(again) && refused(own.flush())))
    });
    assert_eq!(status, 0);
    assert_eq!(map[1].load(Ordering::Relaxed), 2, "the memory is shared with the child");
    map.flush().unwrap();
    assert_eq!(file.content()[..2], [1, 2]);
}

/// Where a process of its own finds a file, in a directory that is no place for images.
const LISTENED: &str = "MAPBACK_TEST_LISTENED_FILE";

/// Maps a file whenever it is told something.
struct Mapping(PathBuf, AtomicU64);

impl tracing::Subscriber for Mapping {
    fn enabled(&self, meta: &tracing::Metadata<'_>) -> bool {
        *meta.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        assert_eq!(MmapShared::map_shared(open(&self.0)).unwrap_err().kind(), ErrorKind::Unsupported);
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn open(path: &std::path::Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn who_is_told_of_something_may_use_maps() {
    if let Some(path) = std::env::var_os(LISTENED).map(PathBuf::from) {
        let listener = std::sync::Arc::new(Mapping(path.clone(), AtomicU64::new(0)));
        let map = || MmapShared::map_shared(open(&path)).unwrap_err().kind();
        assert_eq!(tracing::subscriber::with_default(listener.clone(), map), ErrorKind::Unsupported);
        assert!(listener.1.load(Ordering::Relaxed) > 0, "nobody was told");
        return;
    }
    let file = Fixture::new(&[1; 100]);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "shared::who_is_told_of_something_may_use_maps", "--nocapture"])
        .env(LISTENED, &file.path)
        .env("MAPBACK_SHARED_DIR", file.path.with_file_name("file"))
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let ended = loop {
        match child.try_wait().unwrap() {
            Some(ended) => break ended,
            None if begin.elapsed() > Duration::from_secs(30) => child.kill().unwrap(),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(ended.success(), "{ended}");
}
