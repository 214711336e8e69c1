//! `--memmap2`: store and flush by the Rust maps, beside memmap2's, in turn.
//!
//! Each rival is a process with a file of its own. They are compared in turn, first those on large folios, then those on
//! folios of 4 KiB. A commit of `flush_atomic` leaves the writing of the file to a later checkpoint; what that costs is
//! measured as well, and shared out among the commits.

mod report;
pub(crate) mod rival;
mod rounds;
mod worker;

pub(crate) use worker::main as worker;

use crate::args::Options;
use crate::device::Device;
use crate::host;
use crate::names::{SHARES, Share};
use crate::peer::Peer;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use core::time::Duration;
use rival::Rival;
use rounds::{Results, Rounds};
use std::collections::BTreeMap;
use std::fs::File;
use std::process::Command;

/// Rounds of each share that do not count.
const WARM_UP: u64 = 2;

/// Measures everything and prints it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let system = host::describe(&options.dir)?;
    host::touch_memory(options.touch());
    let mut results: Results = SHARES.iter().map(|_| BTreeMap::new()).collect();
    let mut folios = Vec::new();
    // Only those on folios of one size are compared, so that the others need not take up room meanwhile.
    for small in [false, true] {
        let mut bench = Bench::start(options, |rival| rival.is_small() == small)?;
        folios.extend(bench.folios()?);
        for (share, all) in SHARES.iter().zip(&mut results) {
            all.extend(bench.measure(*share)?);
        }
    }
    print!("{}", report::text(options, &system, &folios, &results));
    if let Some(path) = &options.json {
        let json = report::json(options, &system, &results)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn start(rival: Rival, options: &Options) -> Result<Peer> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    let name = rival.to_possible_value().context("a rival without a name")?;
    command.arg("--memmap2-worker").arg(name.get_name());
    command.arg("--dir").arg(&options.dir).arg("--size").arg(options.size().to_string());
    let mut peer = Peer::start(command)?;
    // The next one makes its file when this one has.
    peer.ask("ready").with_context(|| format!("{} did not begin", rival.title()))?;
    Ok(peer)
}

struct Bench {
    peers: Vec<(Rival, Peer)>,
    device: Option<Device>,
    dir: File,
    pages: usize,
    rounds: u64,
}

impl Bench {
    /// Starts the processes of some rivals, one after the other.
    fn start(options: &Options, takes_part: impl Fn(&Rival) -> bool) -> Result<Bench> {
        let dir = &options.dir;
        let mut bench = Bench {
            peers: Vec::new(),
            device: Device::under(dir)?,
            dir: File::open(dir).with_context(|| format!("cannot open {}", dir.display()))?,
            pages: options.size().div_ceil(rustix::param::page_size() as u64) as usize,
            rounds: options.rounds(),
        };
        for rival in Rival::value_variants().iter().copied().filter(takes_part) {
            bench.peers.push((rival, start(rival, options)?));
        }
        Ok(bench)
    }

    /// The mean size of the folios behind the kernel's maps, in bytes, where that can be known.
    fn folios(&mut self) -> Result<Vec<(Rival, Option<f64>)>> {
        let kernels = self.peers.iter_mut().filter(|(rival, _)| rival.peer() == *rival);
        kernels.map(|(rival, peer)| Ok((*rival, peer.ask("folios")?.first().copied()))).collect()
    }

    /// One share: all rivals in turn, as often as there are rounds.
    fn measure(&mut self, share: Share) -> Result<BTreeMap<Rival, Rounds>> {
        let mut all: BTreeMap<Rival, Rounds> = BTreeMap::new();
        for round in 0..WARM_UP + self.rounds {
            // Everyone is the first in turn.
            self.peers.rotate_left(1);
            for nth in 0..self.peers.len() {
                let rival = self.peers[nth].0;
                let (times, device) = self.ask(nth, &format!("change {} {round}", share.of(self.pages)))?;
                let [total, store, flush] = times[..] else { bail!("not three times: {times:?}") };
                if round >= WARM_UP {
                    let rounds = all.entry(rival).or_default();
                    rounds.total.push(total);
                    rounds.store.push(store);
                    rounds.flush.push(flush);
                    rounds.device.extend(device);
                } else if round + 1 == WARM_UP && rival.is_atomic() {
                    // The checkpoint at the end shall be of the commits that count.
                    self.ask(nth, "settle")?;
                }
            }
        }
        for nth in (0..self.peers.len()).filter(|nth| self.peers[*nth].0.is_atomic()).collect::<Vec<_>>() {
            let (times, device) = self.ask(nth, "settle")?;
            let rounds = all.entry(self.peers[nth].0).or_default();
            let each = |sum: f64| sum / rounds.total.len() as f64;
            let time = each(rounds.total.iter().chain(&times).sum());
            let written = each(rounds.device.iter().sum::<f64>() + device.unwrap_or(f64::NAN));
            rounds.with_checkpoint = Some((time, written));
        }
        Ok(all)
    }

    /// The child's answer, and the MiB that the device wrote meanwhile.
    fn ask(&mut self, nth: usize, what: &str) -> Result<(Vec<f64>, Option<f64>)> {
        // What others left to be written must not be written, and counted, meanwhile.
        rustix::fs::syncfs(&self.dir).context("cannot flush the file system")?;
        std::thread::sleep(Duration::from_millis(20));
        let written = |device: &Option<Device>| device.as_ref().and_then(Device::written);
        let before = written(&self.device);
        let (rival, peer) = &mut self.peers[nth];
        let answer = peer.ask(what).with_context(|| rival.title())?;
        let after = written(&self.device);
        let mib = before.zip(after).map(|(before, after)| (after - before) as f64 / f64::from(1 << 20));
        Ok((answer, mib))
    }
}
