//! A run as text, and as JSON.

use crate::args::Options;
use crate::figures::{Figures, Summary};
use crate::host::System;
use crate::names::{FOLIO, SETUP, value};
use crate::tables::{self, extremes, number, size};
use crate::targets::Target;
use anyhow::Result;
use comfy_table::{Table, presets};
use core::fmt::Write;
use serde_json::json;

/// Everything, for a person.
pub(crate) fn text(options: &Options, system: &System, figures: &Figures, targets: &[Target]) -> String {
    let mut text = head(options, system, figures);
    text.push_str(&tables::all(figures, &options.contenders(), options.size()));
    let _ = writeln!(text, "Targets (mapback wp-async)\n{}", judged(targets).trim_fmt());
    text
}

/// What was measured, and where.
pub(crate) fn setting(what: &str, options: &Options, system: &System) -> String {
    format!(
        "{what}, in turn: {} a file on {}, {} rounds; medians.\n\
         Linux {} ({}), {} processors, {} of memory, load average before: {:.2}\n",
        size(options.size()),
        system.file_system,
        options.rounds(),
        system.kernel,
        system.machine,
        system.processors,
        size(system.memory_bytes),
        system.load_average,
    )
}

/// What cannot be known here.
pub(crate) fn unknown(system: &System) -> &'static str {
    if system.device_counters {
        ""
    } else {
        "This file system has no block device with counters: bytes written are not known.\n"
    }
}

fn head(options: &Options, system: &System, figures: &Figures) -> String {
    let mut text = setting("Kernel mmap and mapback", options, system);
    for contender in options.contenders().into_iter().filter(|c| c.is_kernel()) {
        let folio = match figures.median(&value(SETUP, FOLIO), contender) {
            Some(kib) => format!("{} KiB in the mean", number(kib)),
            None => "not known (only root may look)".into(),
        };
        let _ = writeln!(text, "Folios of {}: {folio}", contender.title());
    }
    text.push_str(unknown(system));
    text.push('\n');
    text
}

fn judged(targets: &[Target]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "measured", "(min–max)", "at most", ""]);
    for target in targets {
        let show = |n: f64| format!("{} {}", number(n), target.unit);
        table.add_row([
            target.what.clone(),
            target.measured.map_or("–".into(), |m: Summary| show(m.median)),
            extremes(target.measured),
            show(target.limit),
            match target.holds {
                Some(true) => "holds".into(),
                Some(false) => "DOES NOT HOLD".to_owned(),
                None => "not measured".into(),
            },
        ]);
    }
    table
}

/// Everything, for a program.
pub(crate) fn json(
    options: &Options,
    system: &System,
    figures: &Figures,
    targets: &[Target],
) -> Result<String> {
    let all = json!({
        "system": system,
        "size": options.size(),
        "rounds": options.rounds(),
        "figures": figures.rows(),
        "targets": targets,
    });
    Ok(serde_json::to_string_pretty(&all)?)
}
