//! The trackers that are tested.

/// The trackers that Linux has. See docs/design.md.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tracker {
    WpAsync,
    Fault,
    Compare,
    Whole,
}

impl Tracker {
    pub(crate) const ALL: [Self; 4] = [Self::WpAsync, Self::Fault, Self::Compare, Self::Whole];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WpAsync => "wp-async",
            Self::Fault => "fault",
            Self::Compare => "compare",
            Self::Whole => "whole",
        }
    }

    /// Why this kernel cannot serve the tracker, if it is too old for it.
    pub(crate) fn missing_in_kernel(self) -> Option<String> {
        let system = rustix::system::uname();
        let release = system.release().to_string_lossy();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
        let version = (numbers.next()?, numbers.next()?);
        (self == Self::WpAsync && version < (6, 7))
            .then(|| format!("wp-async needs Linux 6.7 or later; this is {release}"))
    }
}
