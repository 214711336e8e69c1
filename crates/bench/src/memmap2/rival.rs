//! The rivals of `--memmap2`.

use clap::ValueEnum;
use mapback_bench::Contender;

/// Who is measured: what flushes, and in which folios the file lies in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Rival {
    /// memmap2's flush.
    Memmap2Large,
    Memmap2Small,
    /// mapback's flush.
    FlushLarge,
    FlushSmall,
    /// mapback's flush_atomic.
    AtomicLarge,
    AtomicSmall,
}

impl Rival {
    /// The one that this one is compared with.
    pub(super) fn peer(self) -> Rival {
        if self.is_small() { Rival::Memmap2Small } else { Rival::Memmap2Large }
    }

    pub(super) fn is_small(self) -> bool {
        matches!(self, Rival::Memmap2Small | Rival::FlushSmall | Rival::AtomicSmall)
    }

    /// How its file is to lie in the page cache.
    pub(super) fn folios(self) -> Contender {
        if self.is_small() { Contender::KernelSmall } else { Contender::KernelLarge }
    }

    pub(super) fn is_atomic(self) -> bool {
        matches!(self, Rival::AtomicLarge | Rival::AtomicSmall)
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Rival::Memmap2Large => "memmap2 flush, large folios",
            Rival::Memmap2Small => "memmap2 flush, 4 KiB folios",
            Rival::FlushLarge => "mapback flush, large folios",
            Rival::FlushSmall => "mapback flush, 4 KiB folios",
            Rival::AtomicLarge => "mapback flush_atomic, large folios",
            Rival::AtomicSmall => "mapback flush_atomic, 4 KiB folios",
        }
    }
}
