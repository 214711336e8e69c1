//! What was measured: for each measure and contender one value per round.

use mapback_bench::Contender;
use serde::Serialize;
use std::collections::BTreeMap;

/// All values of a run.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    values: BTreeMap<(String, Contender), Vec<f64>>,
}

/// Some values in short.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// The same in another unit.
    pub(crate) fn scale(self, by: f64) -> Summary {
        Summary { median: self.median * by, min: self.min * by, max: self.max * by }
    }
}

/// The values of one measure and contender, as they are written to a file.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    measure: &'a str,
    contender: Contender,
    #[serde(flatten)]
    summary: Summary,
    values: &'a [f64],
}

impl Figures {
    pub(crate) fn add(&mut self, measure: String, contender: Contender, value: f64) {
        self.values.entry((measure, contender)).or_default().push(value);
    }

    fn values(&self, measure: &str, contender: Contender) -> Option<&[f64]> {
        self.values.get(&(measure.to_owned(), contender)).map(Vec::as_slice)
    }

    pub(crate) fn summary(&self, measure: &str, contender: Contender) -> Option<Summary> {
        summary(self.values(measure, contender)?)
    }

    pub(crate) fn median(&self, measure: &str, contender: Contender) -> Option<f64> {
        self.summary(measure, contender).map(|s| s.median)
    }

    /// How many times `b` is `a`: of the medians, and the extremes of the single rounds, each of which had both.
    pub(crate) fn ratio(&self, a: (&str, Contender), b: (&str, Contender)) -> Option<Summary> {
        let (a, b) = (self.values(a.0, a.1)?, self.values(b.0, b.1)?);
        let rounds: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
        let median = summary(a)?.median / summary(b)?.median;
        Some(Summary { median, ..summary(&rounds)? })
    }

    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let all = self.values.iter();
        all.filter_map(|((measure, contender), values)| {
            Some(Row { measure, contender: *contender, summary: summary(values)?, values })
        })
        .collect()
    }
}

/// The median and the extremes; `None` for no values.
pub(crate) fn summary(values: &[f64]) -> Option<Summary> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let mid = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[mid] } else { (sorted[mid - 1] + sorted[mid]) / 2.0 };
    Some(Summary { median, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_extremes() {
        assert_eq!(summary(&[3.0, 1.0, 2.0]), Some(Summary { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(summary(&[4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn ratios_pair_the_rounds() {
        let mut figures = Figures::default();
        for (a, b) in [(2.0, 4.0), (6.0, 2.0), (3.0, 3.0)] {
            figures.add("m".into(), Contender::KernelLarge, a);
            figures.add("m".into(), Contender::KernelSmall, b);
        }
        let ratio = figures.ratio(("m", Contender::KernelLarge), ("m", Contender::KernelSmall)).unwrap();
        assert_eq!(ratio, Summary { median: 1.0, min: 0.5, max: 3.0 });
    }
}
