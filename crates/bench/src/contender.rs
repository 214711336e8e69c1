//! Who is measured.

use core::fmt;
use core::str::FromStr;
use mapback::TrackerKind;
use serde::{Serialize, Serializer};

/// One way of having a file in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// The kernel's map of a file that lies in the page cache in large folios.
    KernelLarge,
    /// The kernel's map of a file that lies in the page cache in folios of one page.
    KernelSmall,
    /// mapback, with one of its trackers.
    Mapback(TrackerKind),
}

impl Contender {
    /// Everyone, in the order of the tables.
    pub fn all() -> Vec<Contender> {
        let kernel = [Contender::KernelLarge, Contender::KernelSmall];
        kernel.into_iter().chain(TrackerKind::ALL.map(Contender::Mapback)).collect()
    }

    /// The name on the command line and in figures.
    pub fn name(self) -> &'static str {
        match self {
            Contender::KernelLarge => "kernel-large",
            Contender::KernelSmall => "kernel-4k",
            Contender::Mapback(tracker) => tracker.name(),
        }
    }

    /// The name in tables.
    pub fn title(self) -> String {
        match self {
            Contender::KernelLarge => "kernel, large folios".into(),
            Contender::KernelSmall => "kernel, 4 KiB folios".into(),
            Contender::Mapback(tracker) => format!("mapback {tracker}"),
        }
    }

    /// Whether this is the kernel's own map.
    pub fn is_kernel(self) -> bool {
        !matches!(self, Contender::Mapback(_))
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is nobody's.
#[derive(Clone, Debug)]
pub struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Contender::all().into_iter().map(Contender::name).collect();
        write!(f, "nobody is called {:?}: take one of {}", self.0, names.join(", "))
    }
}

impl std::error::Error for Unknown {}

impl FromStr for Contender {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Contender, Unknown> {
        Contender::all().into_iter().find(|c| c.name() == name).ok_or_else(|| Unknown(name.into()))
    }
}

impl Serialize for Contender {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for contender in Contender::all() {
            assert_eq!(contender.name().parse::<Contender>().unwrap(), contender);
        }
        assert!("kernel".parse::<Contender>().unwrap_err().to_string().contains("kernel-large"));
    }
}
