//! What the doctor found: sections of findings, each with a verdict and, where it helps, what to do.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// Good news, bad news, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Works.
    Yes,
    /// Does not work, but mapback has another way.
    No,
    /// Stands in the way of serving maps.
    Obstacle,
    /// A fact.
    Note,
}

#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    text: String,
    advice: Option<String>,
}

/// A heading and its findings.
#[derive(Debug)]
pub struct Section {
    title: String,
    findings: Vec<Finding>,
}

impl Section {
    /// Begins a section.
    pub fn new(title: impl Into<String>) -> Self {
        Section { title: title.into(), findings: Vec::new() }
    }

    /// Adds a finding.
    pub fn add(&mut self, verdict: Verdict, text: impl Into<String>) {
        self.findings.push(Finding { verdict, text: text.into(), advice: None });
    }

    /// Adds a finding and what to do.
    pub fn advise(&mut self, verdict: Verdict, text: impl Into<String>, advice: impl Into<String>) {
        self.findings.push(Finding { verdict, text: text.into(), advice: Some(advice.into()) });
    }

    /// Whether something stands in the way.
    pub fn has_obstacle(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict == Verdict::Obstacle)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BOLD: Style = Style::new().bold();
        writeln!(f, "{BOLD}{}{BOLD:#}", self.title)?;
        for finding in &self.findings {
            let (word, style) = match finding.verdict {
                Verdict::Yes => ("yes", AnsiColor::Green.on_default()),
                Verdict::No => ("no", AnsiColor::Yellow.on_default()),
                Verdict::Obstacle => ("NO", AnsiColor::Red.on_default().bold()),
                Verdict::Note => ("·", Style::new().dimmed()),
            };
            writeln!(f, "  {style}{word:<3}{style:#} {}", finding.text)?;
            if let Some(advice) = &finding.advice {
                writeln!(f, "      → {advice}")?;
            }
        }
        Ok(())
    }
}
