//! One line to the user, where no call can return an error.

use crate::sync::Mutex;

static REPORT: Mutex<Option<fn(&str)>> = Mutex::new(None);

/// Says how lines are shown. The first that says so is obeyed.
pub(crate) fn through(show: fn(&str)) {
    REPORT.lock().get_or_insert(show);
}

/// Shows a line.
pub(crate) fn line(text: &str) {
    let show = *REPORT.lock();
    if let Some(show) = show {
        show(text);
    }
}
