//! One line to the user, where no call can return an error.

use std::sync::OnceLock;

static REPORT: OnceLock<fn(&str)> = OnceLock::new();

/// Says how lines are shown. The first that says so is obeyed.
pub(crate) fn through(show: fn(&str)) {
    let _ = REPORT.set(show);
}

/// Shows a line.
pub(crate) fn line(text: &str) {
    if let Some(show) = REPORT.get() {
        show(text);
    }
}
