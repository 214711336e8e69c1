//! `--sharing`: what unmapped files pay for being served beside, and what the second process of a file pays.
//!
//! Each contender is a process that does the same calls when asked, in turn, natively and under `mapback run`.

pub(crate) mod role;

use crate::args::Options;
use crate::host;
use crate::peer::{self, Peer};
use anyhow::{Context, Result, bail, ensure};
use mapback_bench::{Contender, file};
use role::Role;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tempfile::NamedTempFile;

/// What one call moves.
const BLOCK: usize = 4096;

/// How much a batch of calls moves.
const BATCH: u64 = 16 << 20;

/// Measures everything and prints it.
pub(crate) fn run(options: &Options) -> Result<()> {
    host::touch_memory(options.touch());
    calls(options)?;
    attach(options)
}

fn named(dir: &Path, size: u64) -> Result<NamedTempFile> {
    let named =
        NamedTempFile::new_in(dir).with_context(|| format!("cannot make a file in {}", dir.display()))?;
    // Content from the bench's own maker, so that nothing on the way can make it smaller.
    let mut source = file::make(Contender::KernelLarge, dir, size)?;
    source.rewind()?;
    std::io::copy(&mut source, &mut named.as_file())?;
    named.as_file().sync_all()?;
    Ok(named)
}

/// Calls on a file without an image: the ratio of each round's two batches, and the median of the ratios.
fn calls(options: &Options) -> Result<()> {
    let (file, other) = (named(&options.dir, BATCH)?, named(&options.dir, BATCH)?);
    let peer = |role, served| start(role, &[file.path(), other.path()], served);
    let mut peers = [peer(Role::Calls, false)?, peer(Role::Calls, true)?, peer(Role::CallsBesideAMap, true)?];
    let rounds = options.rounds() * 5;
    let per_call = 1e9 / (BATCH as f64 / BLOCK as f64);
    println!("Calls of 4 KiB on a file that has no image, {rounds} rounds in turn; medians");
    for call in ["read", "write"] {
        let mut values: [Vec<f64>; 3] = Default::default();
        for round in 0..rounds + 2 {
            for (peer, values) in peers.iter_mut().zip(&mut values) {
                let took = peer.ask(call)?;
                if round >= 2 {
                    values.push(took[0] * per_call);
                }
            }
        }
        let [native, served @ ..] = &values;
        println!("  {call:<5} natively {:31.1} ns", median(native.clone()));
        for (served, what) in served.iter().zip(["under mapback run", "under mapback run, beside a map"]) {
            let ratios = served.iter().zip(native).map(|(served, native)| served / native).collect();
            let over = (median(ratios) - 1.0) * 100.0;
            println!(
                "  {call:<5} {what:<31} {:8.1} ns, {over:+.1} %  (at most +3 %)",
                median(served.clone())
            );
        }
    }
    Ok(())
}

/// Mapping a file that another process has mapped, against mapping it first.
fn attach(options: &Options) -> Result<()> {
    let file = named(&options.dir, options.size())?;
    let (mut loads, mut attachments, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=options.rounds() {
        let mut first = start(Role::Maps, &[file.path()], true)?;
        let [map, touch] = first.ask("map")?[..] else { bail!("not two numbers") };
        let mut second = start(Role::Maps, &[file.path()], true)?;
        let [attached, touched] = second.ask("map")?[..] else { bail!("not two numbers") };
        if round > 0 {
            // Whenever the content is loaded, by mmap or by the first touch: both touch as many pages.
            let load = map + touch - touched;
            loads.push(load * 1e3);
            attachments.push(attached * 1e3);
            ratios.push(attached / load * 100.0);
        }
    }
    println!("Attaching to the image of a file of {}, {} rounds; medians", options.size(), options.rounds());
    println!("  loading it   {:10.2} ms", median(loads));
    println!("  attaching    {:10.2} ms", median(attachments));
    println!("  ratio        {:10.2} %  (at most 1 %)", median(ratios));
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn start(role: Role, files: &[&Path], served: bool) -> Result<Peer> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = if served { under_mapback(&program)? } else { Command::new(&program) };
    let name = clap::ValueEnum::to_possible_value(&role).context("a role without a name")?;
    command.arg("--sharing-worker").arg(name.get_name()).args(files);
    Peer::start(command)
}

/// `mapback run` of the same build.
fn under_mapback(program: &Path) -> Result<Command> {
    let mapback = program.with_file_name("mapback");
    ensure!(mapback.exists(), "{} does not exist: `cargo xtask bench` builds it", mapback.display());
    let mut command = Command::new(mapback);
    command.args(["run", "--maps", "all", "--"]).arg(program);
    Ok(command)
}

/// The child's part.
pub(crate) fn worker(role: Role, files: &[PathBuf]) -> Result<()> {
    let open = |nth: usize| -> Result<File> {
        let path = files.get(nth).context("a file is missing on the command line")?;
        File::options()
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))
    };
    let mut file = open(0)?;
    let _map = if role == Role::CallsBesideAMap { Some(map(&open(1)?)?) } else { None };
    let mut buffer = vec![0x5a; BLOCK];
    peer::serve(|what| match what {
        "read" => batch(&mut file, |file| Ok(file.read_exact(&mut buffer)?)),
        "write" => batch(&mut file, |file| Ok(file.write_all(&buffer)?)),
        "map" => map_and_touch(&file),
        other => bail!("nobody can {other}"),
    })
}

fn batch(file: &mut File, mut call: impl FnMut(&mut File) -> Result<()>) -> Result<Vec<f64>> {
    file.rewind()?;
    let start = Instant::now();
    for _ in 0..BATCH / BLOCK as u64 {
        call(file)?;
    }
    Ok(vec![start.elapsed().as_secs_f64()])
}

/// A shared map of the whole file, by whoever serves this process, until the process ends: its address and length.
fn map(file: &File) -> Result<(usize, usize)> {
    let len = file.metadata()?.len() as usize;
    let (prot, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
    // SAFETY: a new map at an address that is left to others to choose.
    let addr = unsafe { libc::mmap(core::ptr::null_mut(), len, prot, libc::MAP_SHARED, fd, 0) };
    ensure!(addr != libc::MAP_FAILED, "cannot map the file: {}", std::io::Error::last_os_error());
    Ok((addr as usize, len))
}

fn map_and_touch(file: &File) -> Result<Vec<f64>> {
    let start = Instant::now();
    let (addr, len) = map(file)?;
    let mapped = start.elapsed().as_secs_f64();
    for at in (addr..addr + len).step_by(rustix::param::page_size()) {
        // SAFETY: the map was made just now and is never unmapped; nobody stores to it.
        std::hint::black_box(unsafe { (at as *const u8).read_volatile() });
    }
    Ok(vec![mapped, start.elapsed().as_secs_f64() - mapped])
}
