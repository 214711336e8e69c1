//! What happens in a round, all of it drawn from the round's seed.

use mapback_conformance::cells;
use mapback_conformance::writer::Shape;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Nobody: all are told to stop
    None,
    /// One that has not started the others; the rest goes on for a while and is told to stop
    One,
    /// All writers, those that started others last: their keepers see everybody's end
    All,
    /// All writers in any order, so that some may outlive whom their keeper waits for
    AnyOrder,
    /// Everybody at once, keepers included
    Everybody,
    /// The keepers alone; the writers that go on are told to stop
    Keepers,
}

/// What is done after nobody was left to keep what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    RecoverAll,
    RecoverFile,
    /// Another program maps the file
    MapAgain,
    /// `mapback recover`, killed some times before it may finish
    KilledRecoveries(u32),
    /// Programs that map the file, killed some times before one may finish
    KilledMaps(u32),
}

/// When the killing begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So many microseconds after the start: in loading, in attaching
    AfterStart(u64),
    /// So many microseconds after all have begun to write
    AtWork(u64),
}

/// One round.
#[derive(Clone, Debug)]
pub struct Round {
    pub seed: u64,
    pub tracker: Option<String>,
    pub flush_every: Option<&'static str>,
    /// The programs that are started by themselves: how they get how many fellows
    pub groups: Vec<(Shape, u64)>,
    pub cells: u64,
    /// Bytes behind the last cell
    pub rest: usize,
    pub moment: Moment,
    pub attack: Attack,
    pub rescue: Rescue,
}

impl Round {
    pub fn of(seed: u64) -> Round {
        let mut random = fastrand::Rng::with_seed(seed);
        let trackers = std::env::var("MAPBACK_KILL_TRACKERS").or_else(|_| std::env::var("MAPBACK_TRACKER"));
        let trackers: Vec<String> =
            trackers.map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default();
        let tracker =
            (!trackers.is_empty()).then(|| trackers[(seed % trackers.len() as u64) as usize].clone());
        let shapes = [Shape::ForkThenMap, Shape::MapThenFork, Shape::Spawn];
        let groups = match random.u8(0..4) {
            0 => vec![(Shape::Alone, 1), (Shape::Alone, 1)],
            1 => vec![(random.choice(shapes).unwrap(), 2), (Shape::Alone, 1)],
            _ => vec![(random.choice(shapes).unwrap(), random.u64(2..4))],
        };
        // Now and then so many that loading takes a while.
        let pages = if random.u8(0..16) == 0 { random.u64(1024..4096) } else { random.u64(1..96) };
        Round {
            seed,
            tracker,
            flush_every: random.choice([None, Some("0"), Some("20ms")]).unwrap(),
            groups,
            cells: pages * 512 - random.u64(0..500),
            rest: random.usize(0..8),
            moment: match random.u8(0..4) {
                0 => Moment::AfterStart(random.u64(0..20_000)),
                _ => Moment::AtWork(random.u64(0..30_000)),
            },
            attack: match random.u8(0..20) {
                0 => Attack::None,
                1..3 => Attack::One,
                3..7 => Attack::All,
                7..10 => Attack::AnyOrder,
                10..18 => Attack::Everybody,
                _ => Attack::Keepers,
            },
            rescue: match random.u8(0..10) {
                0..2 => Rescue::RecoverAll,
                2..4 => Rescue::RecoverFile,
                4..6 => Rescue::MapAgain,
                6..8 => Rescue::KilledRecoveries(random.u32(1..4)),
                _ => Rescue::KilledMaps(random.u32(1..3)),
            },
        }
    }

    /// A source of further decisions.
    pub fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(!self.seed)
    }

    pub fn writers(&self) -> u64 {
        self.groups.iter().map(|(_, processes)| processes).sum()
    }

    /// The writers, and nobody: the cells that must stay.
    pub fn owners(&self) -> u64 {
        self.writers() + 1
    }

    /// The file before the round.
    pub fn content(&self) -> Vec<u8> {
        let mut content = cells::fresh(self.cells);
        content.extend_from_slice(&b"a rest!"[..self.rest]);
        content
    }
}
