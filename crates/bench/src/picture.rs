//! The picture of the bench: time and bytes of one flush after 1 % of the pages changed.

use crate::figures::{Figures, Summary};
use crate::host::System;
use crate::names::ONE_PERCENT;
use crate::tables::{self, number};
use mapback_bench::Contender;
use svg::Document;
use svg::node::element::{Line, Rectangle, Style, Text, Title};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 28.0;
/// Where the bars of the two panels begin, and how long they may be.
const PANELS: [f64; 2] = [200.0, 590.0];
const LONGEST: f64 = 250.0;
const TOP: f64 = 128.0;
const ROW: f64 = 36.0;
const BAR: f64 = 22.0;

/// Colours for a light and for a dark page, each on a ground of its own.
const STYLE: &str = "
text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 14px; fill: #1f2328; }
.ground { fill: #ffffff; stroke: #d0d7de; }
.title { font-size: 19px; font-weight: 600; }
.panel { font-weight: 600; }
.note { font-size: 12px; fill: #59636e; }
.axis { stroke: #8c959f; stroke-width: 1; }
.spread { stroke: #1f2328; stroke-width: 1.5; }
.kernel { fill: #d9822b; }
.mapback { fill: #2f81c7; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.ground { fill: #0d1117; stroke: #30363d; }
.note { fill: #9198a1; }
.axis { stroke: #656c76; }
.spread { stroke: #e6edf3; }
}";

/// Draws the picture.
pub(crate) fn draw(figures: &Figures, contenders: &[Contender], size: u64, system: &System) -> Document {
    let axis_end = TOP + ROW * contenders.len() as f64;
    let height = axis_end + 70.0;
    let mut picture = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("role", "img")
        .add(Title::new("Kernel mmap and mapback: time and bytes of one flush"))
        .add(Style::new(STYLE))
        .add(ground(height));
    let size = tables::size(size);
    picture = picture
        .add(text(
            MARGIN,
            42.0,
            "title",
            format!("One byte changed in 1 % of the pages of a {size} file, then msync"),
        ))
        .add(text(
            MARGIN,
            66.0,
            "note",
            "Shorter is better. Medians in a steady state; thin lines: least to greatest.",
        ));
    for (nth, contender) in contenders.iter().enumerate() {
        let label = text(PANELS[0] - 12.0, baseline(nth), "label", contender.title());
        picture = picture.add(label.set("text-anchor", "end"));
    }
    let panels =
        [("store + msync, ms", ONE_PERCENT.total()), ("written to the device, MiB", ONE_PERCENT.device())];
    for ((title, measure), x) in panels.into_iter().zip(PANELS) {
        picture = picture.add(text(x, TOP - 16.0, "panel", title));
        for bar in bars(figures, contenders, &measure, x) {
            picture = bar.into_iter().fold(picture, Document::add);
        }
        picture = picture.add(line((x, TOP - 4.0), (x, axis_end), "axis"));
    }
    let machine = format!(
        "Linux {} ({}), {} processors, {}. Measured by cargo xtask bench.",
        system.kernel, system.machine, system.processors, system.file_system
    );
    picture.add(text(MARGIN, axis_end + 40.0, "note", machine))
}

/// The bars of one panel, each with the line of its spread and its value.
fn bars(figures: &Figures, contenders: &[Contender], measure: &str, x: f64) -> Vec<Vec<Box<dyn svg::Node>>> {
    let measured: Vec<_> = contenders.iter().map(|c| figures.summary(measure, *c)).collect();
    let most = measured.iter().flatten().map(|s| s.max).fold(f64::MIN_POSITIVE, f64::max);
    let scale = LONGEST / most;
    let bar = |(nth, (contender, summary)): (usize, (&Contender, &Option<Summary>))| match summary {
        Some(summary) => bar(nth, *contender, *summary, x, scale),
        None => vec![text(x + 8.0, baseline(nth), "note", "not measured").into()],
    };
    contenders.iter().zip(&measured).enumerate().map(bar).collect()
}

fn bar(nth: usize, contender: Contender, summary: Summary, x: f64, scale: f64) -> Vec<Box<dyn svg::Node>> {
    let class = if contender.is_kernel() { "kernel" } else { "mapback" };
    let top = TOP + ROW * nth as f64;
    let middle = top + BAR / 2.0;
    let shape = Rectangle::new()
        .set("x", x)
        .set("y", top)
        .set("width", round((summary.median * scale).max(1.0)))
        .set("height", BAR)
        .set("class", class);
    let [least, most] = [summary.min, summary.max].map(|v| round(x + v * scale));
    vec![
        shape.into(),
        line((least, middle), (most, middle), "spread").into(),
        text(most + 8.0, baseline(nth), "value", number(summary.median)).into(),
    ]
}

fn ground(height: f64) -> Rectangle {
    Rectangle::new()
        .set("class", "ground")
        .set("x", 0.5)
        .set("y", 0.5)
        .set("width", WIDTH - 1.0)
        .set("height", height - 1.0)
        .set("rx", 8)
}

fn text(x: f64, y: f64, class: &str, content: impl Into<String>) -> Text {
    Text::new(content).set("x", round(x)).set("y", round(y)).set("class", class)
}

fn line(from: (f64, f64), to: (f64, f64), class: &str) -> Line {
    Line::new().set("x1", from.0).set("y1", from.1).set("x2", to.0).set("y2", to.1).set("class", class)
}

fn baseline(nth: usize) -> f64 {
    TOP + ROW * nth as f64 + BAR / 2.0 + 5.0
}

/// A tenth of a pixel is enough.
fn round(at: f64) -> f64 {
    (at * 10.0).round() / 10.0
}
