//! The names of what is measured, as they stand in the figures.

/// A share of a file's pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) label: &'static str,
    per: usize,
}

/// The shares that are changed between two flushes.
pub(crate) const SHARES: [Share; 4] = [LITTLE, ONE_PERCENT, Share { label: "10 %", per: 10 }, ALL];

/// Next to nothing.
pub(crate) const LITTLE: Share = Share { label: "0.01 %", per: 10_000 };

/// The share that the targets speak of.
pub(crate) const ONE_PERCENT: Share = Share { label: "1 %", per: 100 };

const ALL: Share = Share { label: "100 %", per: 1 };

impl Share {
    /// How many pages that is.
    pub(crate) fn of(self, pages: usize) -> usize {
        pages.div_ceil(self.per)
    }

    /// The measure's name: stores to this share of the pages, and a flush.
    pub(crate) fn measure(self) -> String {
        format!("store+msync {}", self.label)
    }

    /// The total time, in milliseconds.
    pub(crate) fn total(self) -> String {
        format!("{}: {TOTAL}", self.measure())
    }

    /// What the device was told to write, in MiB.
    pub(crate) fn device(self) -> String {
        format!("{}: {DEVICE}", self.measure())
    }
}

/// What a child answers, and what the parent adds.
pub(crate) const TOTAL: &str = "total ms";
pub(crate) const STORE: &str = "store ms";
pub(crate) const MSYNC: &str = "msync ms";
pub(crate) const WRITE_BACK: &str = "write-back ms";
pub(crate) const DEVICE: &str = "device MiB";
pub(crate) const PER_STORE: &str = "ns per store";
pub(crate) const COLLECT: &str = "collect ms";
pub(crate) const ARM: &str = "map ms";
pub(crate) const OPEN: &str = "mmap ms";
pub(crate) const OPEN_AND_READ: &str = "mmap and read ms";
pub(crate) const LOAD: &str = "load ms";
pub(crate) const FOLIO: &str = "folio KiB";

/// The measures.
pub(crate) const SETUP: &str = "setup";
pub(crate) const FIRST_SEQUENTIAL: &str = "first store, sequential";
pub(crate) const FIRST_RANDOM: &str = "first store, random";
pub(crate) const CLEAN: &str = "clean msync";
pub(crate) const SCAN: &str = "scan and re-arm";
pub(crate) const SECOND_MAP: &str = "second map";
pub(crate) const WARM: &str = "open, in page cache";
pub(crate) const COLD: &str = "open, from the device";

/// The name of one of a measure's values.
pub(crate) fn value(measure: &str, name: &str) -> String {
    format!("{measure}: {name}")
}
