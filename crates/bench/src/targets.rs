//! The targets, and whether they hold in this run. Nothing fails because of them: timing is no test.

use crate::figures::{Figures, Summary};
use crate::names::*;
use crate::tables::gib;
use mapback::TrackerKind;
use mapback_bench::Contender::{self, KernelLarge, KernelSmall};
use serde::Serialize;

const OURS: Contender = Contender::Mapback(TrackerKind::WpAsync);
const FAULT: Contender = Contender::Mapback(TrackerKind::Fault);

/// One target, and what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    /// At the most.
    pub(crate) limit: f64,
    /// Of what the limit is a number.
    pub(crate) unit: &'static str,
    /// `None` where a contender did not take part.
    pub(crate) measured: Option<Summary>,
    pub(crate) holds: Option<bool>,
}

impl Target {
    fn new(what: String, limit: f64, unit: &'static str, measured: Option<Summary>) -> Target {
        Target { what, limit, unit, measured, holds: measured.map(|m| m.median <= limit) }
    }

    fn ratio(what: String, limit: f64, measured: Option<Summary>) -> Target {
        Target::new(what, limit, "×", measured)
    }
}

/// Compares the figures of a run on files of `size` bytes with all targets.
pub(crate) fn judge(figures: &Figures, size: u64) -> Vec<Target> {
    let mut targets = steady_state(figures);
    for (measure, order) in [(FIRST_SEQUENTIAL, "sequential"), (FIRST_RANDOM, "random")] {
        let others = [
            (KernelSmall, 0.75, "the kernel's, 4 KiB folios"),
            (KernelLarge, 1.0 / 3.0, "the kernel's, large folios"),
            (FAULT, 0.25, "that of the tracker fault"),
        ];
        for (other, limit, name) in others {
            let measure = value(measure, PER_STORE);
            let ratio = figures.ratio((&measure, OURS), (&measure, other));
            targets.push(Target::ratio(
                format!("first store after a flush, {order}: ÷ {name}"),
                limit,
                ratio,
            ));
        }
    }
    let (clean, load) = (value(CLEAN, MSYNC), value(WARM, LOAD));
    let ratio = figures.ratio((&clean, OURS), (&load, OURS));
    targets.push(Target::ratio("clean msync: ÷ loading the file from the page cache".into(), 0.01, ratio));
    for (what, name) in [
        ("scanning and re-arming, 0.01 % changed", value(SCAN, COLLECT)),
        ("mapping and arming a file that is loaded", value(SECOND_MAP, ARM)),
    ] {
        let cost = figures.summary(&name, OURS).map(|s| s.scale(gib(size).recip()));
        targets.push(Target::new(what.into(), 0.6, "ms/GiB", cost));
    }
    targets
}

fn steady_state(figures: &Figures) -> Vec<Target> {
    let (total, device) = (ONE_PERCENT.total(), ONE_PERCENT.device());
    let time = |other| figures.ratio((&total, OURS), (&total, other));
    let bytes = figures.ratio((&device, OURS), (&device, KernelLarge));
    vec![
        Target::ratio("store+msync of 1 %: time ÷ kernel, large folios".into(), 1.0 / 3.0, time(KernelLarge)),
        Target::ratio("store+msync of 1 %: bytes to the device ÷ kernel, large folios".into(), 0.05, bytes),
        Target::ratio("store+msync of 1 %: time ÷ kernel, 4 KiB folios".into(), 1.1, time(KernelSmall)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_holds_up_to_its_limit() {
        let mut figures = Figures::default();
        for (contender, ms) in [(OURS, 110.0), (KernelSmall, 100.0), (KernelLarge, 300.0)] {
            figures.add(ONE_PERCENT.total(), contender, ms);
        }
        let targets = steady_state(&figures);
        assert_eq!(targets.iter().map(|t| t.holds).collect::<Vec<_>>(), [Some(false), None, Some(true)]);
    }
}
