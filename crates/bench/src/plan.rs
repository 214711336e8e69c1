//! What is measured, in which order.

use crate::args::Options;
use crate::device::Device;
use crate::figures::Figures;
use crate::names::*;
use crate::session::Session;
use crate::task::Task;
use anyhow::{Context, Result};
use core::time::Duration;
use indicatif::{ProgressBar, ProgressStyle};
use mapback_bench::Contender;
use std::fs::File;

/// Rounds of each measure that do not count: the first ones after a change of pattern are not the steady state.
const WARM_UP: u64 = 2;

/// All children, and what they measured so far.
pub(crate) struct Bench {
    sessions: Vec<Session>,
    figures: Figures,
    device: Option<Device>,
    dir: File,
    pages: usize,
    rounds: u64,
    progress: ProgressBar,
}

impl Bench {
    /// Starts the children, one after the other.
    pub(crate) fn start(options: &Options) -> Result<Bench> {
        let page = rustix::param::page_size() as u64;
        let dir = &options.dir;
        let mut bench = Bench {
            sessions: Vec::new(),
            figures: Figures::default(),
            device: Device::under(dir)?,
            dir: File::open(dir).with_context(|| format!("cannot open {}", dir.display()))?,
            pages: options.size().div_ceil(page) as usize,
            rounds: options.rounds(),
            progress: progress(),
        };
        for contender in options.contenders() {
            bench.progress.set_message(format!("making the file of {contender}"));
            let (session, ready) = Session::start(contender, options)?;
            for (name, number) in ready {
                bench.figures.add(value(SETUP, &name), contender, number);
            }
            bench.sessions.push(session);
        }
        Ok(bench)
    }

    /// Measures everything. What spoils the kernel's folios comes last.
    pub(crate) fn run(&mut self) -> Result<()> {
        let pages = self.pages;
        let all = |_| true;
        for share in SHARES {
            let task = |seed| Task::Change { pages: share.of(pages), seed };
            self.measure(&share.measure(), all, task)?;
        }
        for (name, random, count) in [(FIRST_SEQUENTIAL, false, pages / 4), (FIRST_RANDOM, true, pages / 10)]
        {
            self.measure(name, all, |seed| Task::FirstStore { pages: count, random, seed })?;
        }
        self.measure(CLEAN, all, |_| Task::Clean)?;
        let mapback = |c: Contender| !c.is_kernel();
        self.measure(SCAN, mapback, |seed| Task::Collect { pages: LITTLE.of(pages), seed })?;
        self.measure(SECOND_MAP, all, |_| Task::SecondMap)?;
        self.measure(WARM, all, |_| Task::Open { cold: false })?;
        // Read from the device, folios are as large as the kernel's read-ahead likes them.
        let keeps_face = |c| c != Contender::KernelSmall;
        self.measure(COLD, keeps_face, |_| Task::Open { cold: true })
    }

    /// Ends the children and hands the figures over.
    pub(crate) fn finish(self) -> Figures {
        self.progress.finish_and_clear();
        self.figures
    }

    /// One measure: all contenders in turn, as often as there are rounds.
    fn measure(
        &mut self,
        measure: &str,
        takes_part: impl Fn(Contender) -> bool,
        task: impl Fn(u64) -> Task,
    ) -> Result<()> {
        for round in 0..WARM_UP + self.rounds {
            // Everyone is the first in turn.
            self.sessions.rotate_left(1);
            for nth in 0..self.sessions.len() {
                let contender = self.sessions[nth].contender;
                if takes_part(contender) {
                    self.progress.set_message(format!("{measure}, round {round}: {contender}"));
                    self.once(nth, measure, &task(round), round >= WARM_UP)?;
                }
            }
        }
        Ok(())
    }

    fn once(&mut self, nth: usize, measure: &str, task: &Task, counts: bool) -> Result<()> {
        // What others left to be written must not be written, and counted, meanwhile.
        rustix::fs::syncfs(&self.dir).context("cannot flush the file system")?;
        std::thread::sleep(Duration::from_millis(20));
        let written = |device: &Option<Device>| device.as_ref().and_then(Device::written);
        let before = written(&self.device);
        let session = &mut self.sessions[nth];
        let reply = session.ask(task)?;
        let after = written(&self.device);
        if !counts {
            return Ok(());
        }
        let contender = session.contender;
        for (name, number) in reply {
            self.figures.add(value(measure, &name), contender, number);
        }
        if let (Task::Change { .. }, Some(before), Some(after)) = (task, before, after) {
            let mib = after.wrapping_sub(before) as f64 / f64::from(1 << 20);
            self.figures.add(value(measure, DEVICE), contender, mib);
        }
        Ok(())
    }
}

fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("a sound template"));
    bar
}
