//! Tests of what a tracker does not promise: they pass, and say so, for the report to count them apart.

use std::io::Write;

/// How such a line begins.
const BEGINNING: &str = "does not apply to this tracker: ";

/// To be the last thing that a test does for which docs/semantics.md has an exception.
pub fn does_not_apply(why: &str) {
    say(&format!("{BEGINNING}{why}"));
}

/// Repeats the line, if a test's own process has printed it.
pub(crate) fn pass_on(output: &str) {
    output.lines().filter(|line| line.starts_with(BEGINNING)).for_each(say);
}

/// By one call, which Rust's test runner does not keep to itself.
fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("\n{line}\n").as_bytes());
}
