//! What a person sees: lines on stdout, and on a terminal a spinner that says what runs just now.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Prints lines without disturbing the spinner. The spinner hides itself when stderr is no terminal.
pub(crate) struct Ui {
    spinner: ProgressBar,
}

impl Ui {
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("a valid template");
        Self { spinner: ProgressBar::new_spinner().with_style(style) }
    }

    /// Prints one line (or several).
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        self.spinner.suspend(|| println!("{}", text.as_ref()));
    }

    /// Shows what runs from now on, until [`Ui::idle`].
    pub(crate) fn busy(&self, what: impl Into<String>) {
        self.spinner.set_message(what.into());
        self.spinner.reset();
        self.spinner.enable_steady_tick(Duration::from_millis(120));
    }

    /// Takes the spinner away.
    pub(crate) fn idle(&self) {
        self.spinner.disable_steady_tick();
        self.spinner.finish_and_clear();
    }
}
