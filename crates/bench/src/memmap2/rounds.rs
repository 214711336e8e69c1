//! What `--memmap2` measures.

use super::rival::Rival;
use std::collections::BTreeMap;

/// What one rival did at one share, a value for each round that counts.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub(super) total: Vec<f64>,
    pub(super) store: Vec<f64>,
    pub(super) flush: Vec<f64>,
    pub(super) device: Vec<f64>,
    /// Time and device bytes of all rounds and of the checkpoint after them, for each round.
    pub(super) with_checkpoint: Option<(f64, f64)>,
}

/// Everything measured: by share, as they stand in [`SHARES`](crate::names::SHARES), and rival.
pub(super) type Results = Vec<BTreeMap<Rival, Rounds>>;
