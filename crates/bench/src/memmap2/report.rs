//! What `--memmap2` measured, as text and as JSON.

use super::rival::Rival;
use super::rounds::{Results, Rounds};
use crate::args::Options;
use crate::figures::{Summary, summary};
use crate::host::System;
use crate::names::SHARES;
use crate::tables::{extremes, median, number, table};
use anyhow::Result;
use clap::ValueEnum;
use core::fmt::Write;
use serde_json::json;

/// What is aimed at: how many times as fast as memmap2's flush. Nothing fails because of them: timing is no test.
const TARGETS: [(usize, Rival, f64); 6] = [
    (0, Rival::AtomicLarge, 10.0),
    (1, Rival::AtomicLarge, 10.0),
    (0, Rival::AtomicSmall, 1.5),
    (1, Rival::AtomicSmall, 1.5),
    (3, Rival::FlushLarge, 1.0),
    (3, Rival::FlushSmall, 1.0),
];

/// Everything, for a person.
pub(super) fn text(
    options: &Options,
    system: &System,
    folios: &[(Rival, Option<f64>)],
    results: &Results,
) -> String {
    let mut text = crate::report::setting("memmap2's flush and mapback's", options, system);
    for (rival, bytes) in folios {
        let mean = bytes.map_or("not known (only root may look)".into(), |b| {
            format!("{} KiB in the mean", number(b / 1024.0))
        });
        let _ = writeln!(text, "Folios of {}: {mean}", rival.title());
    }
    text.push_str(crate::report::unknown(system));
    for (nth, share) in SHARES.iter().enumerate() {
        let _ = writeln!(text, "\nStore one byte in each of {} of the pages, and flush", share.label);
        let mut table = table(&[
            "",
            "total ms",
            "(min–max)",
            "store ms",
            "flush ms",
            "device MiB",
            "faster than memmap2",
            "(min–max)",
            "ms, with checkpoint",
            "faster",
        ]);
        for &rival in Rival::value_variants() {
            let Some(rounds) = results[nth].get(&rival) else { continue };
            let faster = ratio(results, nth, rival);
            let (whole, whole_ratio) = with_checkpoint(results, nth, rival);
            table.add_row([
                rival.title().into(),
                median(summary(&rounds.total)),
                extremes(summary(&rounds.total)),
                median(summary(&rounds.store)),
                median(summary(&rounds.flush)),
                median(summary(&rounds.device)),
                times(faster.map(|s| s.median)),
                extremes(faster),
                whole.map_or(String::new(), number),
                times(whole_ratio),
            ]);
        }
        let _ = writeln!(text, "{}", table.trim_fmt());
    }
    text.push_str("\nTargets\n");
    for (nth, rival, least) in TARGETS {
        let measured = ratio(results, nth, rival).map(|s| s.median);
        let verdict = match measured {
            Some(times) if times >= least => "holds",
            Some(_) => "DOES NOT HOLD",
            None => "not measured",
        };
        let _ = writeln!(
            text,
            "  {:<7} {:<36} {:>8} as fast as memmap2's flush, at least {least}×: {verdict}",
            SHARES[nth].label,
            rival.title(),
            times(measured)
        );
    }
    text
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or(String::new(), |r| format!("{}×", number(r)))
}

/// How many times as fast as memmap2's flush on the same folios: of the medians, and the extremes of single rounds.
fn ratio(results: &Results, nth: usize, rival: Rival) -> Option<Summary> {
    let (ours, theirs) = (results[nth].get(&rival)?, results[nth].get(&rival.peer())?);
    if rival.peer() == rival {
        return None;
    }
    let rounds: Vec<f64> = theirs.total.iter().zip(&ours.total).map(|(theirs, ours)| theirs / ours).collect();
    let median = summary(&theirs.total)?.median / summary(&ours.total)?.median;
    Some(Summary { median, ..summary(&rounds)? })
}

/// The mean of the rounds with their share of the checkpoint, and how many times as fast as the mean of memmap2's.
fn with_checkpoint(results: &Results, nth: usize, rival: Rival) -> (Option<f64>, Option<f64>) {
    let mean = |rounds: &Rounds| rounds.total.iter().sum::<f64>() / rounds.total.len() as f64;
    let whole = results[nth].get(&rival).and_then(|rounds| rounds.with_checkpoint).map(|(time, _)| time);
    let theirs = results[nth].get(&rival.peer()).map(mean);
    (whole, whole.zip(theirs).map(|(whole, theirs)| theirs / whole))
}

/// Everything, for a program.
pub(super) fn json(options: &Options, system: &System, results: &Results) -> Result<String> {
    let mut rows = Vec::new();
    for (share, rivals) in SHARES.iter().zip(results) {
        for (rival, rounds) in rivals {
            rows.push(json!({
                "share": share.label,
                "rival": rival.title(),
                "total_ms": rounds.total,
                "store_ms": rounds.store,
                "flush_ms": rounds.flush,
                "device_mib": rounds.device,
                "mean_with_checkpoint": rounds.with_checkpoint.map(|(ms, mib)| json!({ "ms": ms, "device_mib": mib })),
            }));
        }
    }
    let all = json!({
        "system": system,
        "size": options.size(),
        "rounds": options.rounds(),
        "figures": rows,
    });
    Ok(serde_json::to_string_pretty(&all)?)
}
