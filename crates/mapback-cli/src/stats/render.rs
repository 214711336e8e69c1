//! Statistics as an aligned table or as JSON.

use std::fmt::Write;

use anstyle::Style;

use super::Report;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Right-aligned columns, then the tracker and the file, whose widths vary.
const HEADINGS: [&str; 9] =
    ["maps", "loaded", "pages changed", "runs", "written", "load", "write-back", "tracker", "file"];
const NUMBERS: usize = 7;

/// The table, with styles that anstream drops where they are not wanted.
pub fn table(report: &Report) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(report.files.iter().map(row));
    let mut text = String::new();
    let processes = count(report.processes.len(), "process", "processes");
    let served = report.processes.iter().filter(|process| process.files > 0).count();
    if report.files.is_empty() {
        let _ = writeln!(text, "{BOLD}mapback:{BOLD:#} no file map was served in {processes}");
    } else {
        let files = count(report.files.len(), "file", "files");
        let _ = writeln!(text, "{BOLD}mapback:{BOLD:#} {files} in {served} of {processes}");
        let widths: [usize; 9] =
            std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
        for (number, row) in rows.iter().enumerate() {
            let style = if number == 0 { DIM } else { Style::new() };
            let line = line(row, &widths);
            let _ = writeln!(text, "{style}{line}{style:#}");
        }
    }
    for what in &report.missing {
        let _ = writeln!(text, "{BOLD}mapback:{BOLD:#} {}", printable(what));
    }
    text
}

/// One JSON document in one line.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string(report).unwrap_or_default();
    text.push('\n');
    text
}

fn row(file: &super::FileReport) -> [String; 9] {
    let counts = &file.counts;
    [
        counts.maps.to_string(),
        bytes(counts.bytes_loaded),
        counts.pages_changed.to_string(),
        counts.runs.to_string(),
        bytes(counts.bytes_written),
        duration(counts.load_ns),
        duration(counts.write_back_ns),
        printable(&file.trackers.iter().map(String::as_str).collect::<Vec<_>>().join("+")),
        printable(&file.path),
    ]
}

fn line(row: &[String; 9], widths: &[usize; 9]) -> String {
    let mut line = String::new();
    for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
        let _ = match i {
            8 => write!(line, "  {cell}"),
            NUMBERS.. => write!(line, "  {cell:<width$}"),
            _ => write!(line, "  {cell:>width$}"),
        };
    }
    line
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// 1536 → "1.5 KiB".
fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    // 1023.95 would be shown as "1024.0".
    while value >= 1023.95 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// 1_500_000 ns → "1.5 ms".
fn duration(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0 => "0".to_owned(),
        1..=999 => format!("{nanoseconds} ns"),
        1_000..=999_949 => format!("{:.1} µs", value / 1e3),
        999_950..=999_949_999 => format!("{:.1} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

/// A path can hold anything; a terminal must not be told to do things by it.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_human() {
        let shown: Vec<String> = [0, 1023, 1024, 1536, 1_048_575, 1 << 20, 5 << 40].map(bytes).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "5.0 TiB"]);
        let shown: Vec<String> =
            [0, 999, 1_000, 999_949, 999_950, 1_500_000, 2_345_000_000].map(duration).into();
        assert_eq!(shown, ["0", "999 ns", "1.0 µs", "999.9 µs", "1.0 ms", "1.5 ms", "2.35 s"]);
    }

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(printable("/a\x1b[2J\nb é"), "/a\\u{1b}[2J\\nb é");
    }
}
