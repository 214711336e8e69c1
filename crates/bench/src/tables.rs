//! The figures as aligned tables.

use crate::figures::{Figures, Summary};
use crate::names::*;
use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use core::fmt::Write;
use mapback_bench::Contender;

/// What stands where nothing was measured.
const NONE: &str = "–";

/// All tables, one under the other.
pub(crate) fn all(figures: &Figures, contenders: &[Contender], size: u64) -> String {
    let mut text = String::new();
    for share in SHARES {
        let title = format!("Store one byte in each of {} of the pages, and msync", share.label);
        add(&mut text, &title, flush(figures, contenders, share));
    }
    add(&mut text, "First store to a page after a flush, ns", first_store(figures, contenders));
    add(&mut text, "Milliseconds of calls that concern the whole map", calls(figures, contenders, size));
    add(&mut text, "Milliseconds to open the file", open(figures, contenders));
    text
}

fn add(text: &mut String, title: &str, table: Table) {
    let _ = writeln!(text, "{title}\n{}\n", table.trim_fmt());
}

/// A table whose columns but the first are numbers.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn flush(figures: &Figures, contenders: &[Contender], share: Share) -> Table {
    let mut table = table(&[
        "",
        "total ms",
        "(min–max)",
        "store ms",
        "msync ms",
        "of it writing",
        "device MiB",
        "(min–max)",
        "time ÷ large",
        "time ÷ 4 KiB",
        "bytes ÷ large",
    ]);
    let measure = share.measure();
    for &contender in contenders {
        let get = |name| figures.summary(&value(&measure, name), contender);
        let ratio = |name, other| {
            let name = value(&measure, name);
            median(figures.ratio((&name, contender), (&name, other)))
        };
        table.add_row([
            contender.title(),
            median(get(TOTAL)),
            extremes(get(TOTAL)),
            median(get(STORE)),
            median(get(MSYNC)),
            median(get(WRITE_BACK)),
            median(get(DEVICE)),
            extremes(get(DEVICE)),
            ratio(TOTAL, Contender::KernelLarge),
            ratio(TOTAL, Contender::KernelSmall),
            ratio(DEVICE, Contender::KernelLarge),
        ]);
    }
    table
}

fn first_store(figures: &Figures, contenders: &[Contender]) -> Table {
    let mut table = table(&["", "sequential", "(min–max)", "random", "(min–max)"]);
    for &contender in contenders {
        let get = |measure| figures.summary(&value(measure, PER_STORE), contender);
        let (sequential, random) = (get(FIRST_SEQUENTIAL), get(FIRST_RANDOM));
        table.add_row([
            contender.title(),
            median(sequential),
            extremes(sequential),
            median(random),
            extremes(random),
        ]);
    }
    table
}

fn calls(figures: &Figures, contenders: &[Contender], size: u64) -> Table {
    let mut table = table(&[
        "",
        "clean msync",
        "(min–max)",
        "scan+re-arm, 0.01 % changed",
        "per GiB",
        "second mmap (arms)",
        "per GiB",
    ]);
    let per_gib = |s: Option<Summary>| s.map(|s| s.scale(gib(size).recip()));
    for &contender in contenders {
        let get = |measure, name| figures.summary(&value(measure, name), contender);
        let (clean, scan, arm) = (get(CLEAN, MSYNC), get(SCAN, COLLECT), get(SECOND_MAP, ARM));
        table.add_row([
            contender.title(),
            median(clean),
            extremes(clean),
            median(scan),
            median(per_gib(scan)),
            median(arm),
            median(per_gib(arm)),
        ]);
    }
    table
}

fn open(figures: &Figures, contenders: &[Contender]) -> Table {
    let mut table = table(&[
        "",
        "cached: mmap",
        "of it loading",
        "mmap and read all",
        "(min–max)",
        "cold: mmap",
        "mmap and read all",
        "(min–max)",
    ]);
    for &contender in contenders {
        let get = |measure, name| figures.summary(&value(measure, name), contender);
        table.add_row([
            contender.title(),
            median(get(WARM, OPEN)),
            median(get(WARM, LOAD)),
            median(get(WARM, OPEN_AND_READ)),
            extremes(get(WARM, OPEN_AND_READ)),
            median(get(COLD, OPEN)),
            median(get(COLD, OPEN_AND_READ)),
            extremes(get(COLD, OPEN_AND_READ)),
        ]);
    }
    table
}

/// A size in words.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string().replace(".0 ", " ")
}

/// A size in GiB.
pub(crate) fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// The median.
pub(crate) fn median(summary: Option<Summary>) -> String {
    summary.map_or(NONE.into(), |s| number(s.median))
}

/// The least and the greatest value.
pub(crate) fn extremes(summary: Option<Summary>) -> String {
    summary.map_or(NONE.into(), |s| format!("({}–{})", number(s.min), number(s.max)))
}

/// A number with three digits that count.
pub(crate) fn number(n: f64) -> String {
    if n == 0.0 {
        return "0".into();
    }
    let whole = n.abs().log10().floor() as i32 + 1;
    format!("{n:.*}", (3 - whole).clamp(0, 6) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!([1 << 30, 3 << 19].map(size), ["1 GiB", "1.5 MiB"]);
    }

    #[test]
    fn three_digits_count() {
        let shown = [0.0, 0.001234, 0.1234, 1.234, 12.34, 123.4, 1234.0].map(number);
        assert_eq!(shown, ["0", "0.00123", "0.123", "1.23", "12.3", "123", "1234"]);
    }
}
