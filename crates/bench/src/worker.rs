//! A child process: one contender, one file, one map. It measures what the parent asks for.

use crate::names::*;
use crate::task::{Reply, Task};
use anyhow::{Context, Result};
use core::time::Duration;
use mapback_bench::{Contender, Face, Map, file, folios};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

struct Worker<'f> {
    contender: Contender,
    face: &'f Face,
    file: &'f File,
    /// `None` only while the file is mapped anew.
    map: Option<Map<'f>>,
}

/// Makes the file and maps it, then answers each line of input with one of output.
pub(crate) fn main(contender: Contender, dir: &Path, size: u64) -> Result<()> {
    let file = file::make(contender, dir, size)
        .with_context(|| format!("cannot make a file of {size} bytes in {}", dir.display()))?;
    let face = Face::of(contender);
    let map = face.map(&file).context("cannot map the file")?;
    face.check()?;
    map.read_all();
    let mut ready = Reply::new();
    if contender.is_kernel() {
        ready.extend(folios::mean_size(map.addr(), map.pages()).map(|b| (FOLIO.into(), b / 1024.0)));
    }
    answer(&ready)?;
    let mut worker = Worker { contender, face: &face, file: &file, map: Some(map) };
    for line in std::io::stdin().lines() {
        let task = serde_json::from_str(&line?).context("not a task")?;
        answer(&worker.measure(task).with_context(|| format!("{contender} cannot do {task:?}"))?)?;
    }
    Ok(())
}

fn answer(reply: &Reply) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, reply)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

impl<'f> Worker<'f> {
    fn measure(&mut self, task: Task) -> Result<Reply> {
        let values = match task {
            Task::Change { pages, seed } => self.change(pages, seed)?,
            Task::FirstStore { pages, random, seed } => self.first_store(pages, random, seed)?,
            Task::Clean => self.clean()?,
            Task::Collect { pages, seed } => self.collect(pages, seed)?,
            Task::SecondMap => self.second_map()?,
            Task::Open { cold } => self.open(cold)?,
        };
        Ok(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn map(&self) -> &Map<'f> {
        self.map.as_ref().expect("mapped between two tasks")
    }

    /// Milliseconds that mapback spent in writing to the store, so far.
    fn write_back(&self) -> Option<f64> {
        self.face.stats().map(|s| s.write_back_ns as f64 / 1e6)
    }

    fn change(&self, pages: usize, seed: u64) -> Result<Vec<(&'static str, f64)>> {
        let map = self.map();
        let pages = choose(map.pages(), pages, seed);
        let before = self.write_back();
        let start = Instant::now();
        pages.iter().for_each(|page| map.store(*page));
        let stored = start.elapsed();
        map.sync(libc::MS_SYNC)?;
        let total = start.elapsed();
        let mut values = vec![(TOTAL, ms(total)), (STORE, ms(stored)), (MSYNC, ms(total - stored))];
        if let (Some(before), Some(after)) = (before, self.write_back()) {
            values.push((WRITE_BACK, after - before));
        }
        Ok(values)
    }

    fn first_store(&self, pages: usize, random: bool, seed: u64) -> Result<Vec<(&'static str, f64)>> {
        let map = self.map();
        let pages = if random { choose(map.pages(), pages, seed) } else { (0..pages).collect() };
        map.sync(libc::MS_SYNC)?;
        let start = Instant::now();
        pages.iter().for_each(|page| map.store(*page));
        let stored = start.elapsed();
        map.sync(libc::MS_SYNC)?;
        Ok(vec![(PER_STORE, stored.as_nanos() as f64 / pages.len() as f64)])
    }

    fn clean(&self) -> Result<Vec<(&'static str, f64)>> {
        let map = self.map();
        let calls = if self.contender == Contender::Mapback(mapback::TrackerKind::Whole) { 1 } else { 5 };
        let mut took = Vec::new();
        for _ in 0..calls {
            let start = Instant::now();
            map.sync(libc::MS_SYNC)?;
            took.push(start.elapsed());
        }
        took.sort();
        Ok(vec![(MSYNC, ms(took[calls / 2]))])
    }

    /// The time of an `msync` without waiting for the storage, less the time of writing.
    fn collect(&self, pages: usize, seed: u64) -> Result<Vec<(&'static str, f64)>> {
        let map = self.map();
        choose(map.pages(), pages, seed).into_iter().for_each(|page| map.store(page));
        let Some(before) = self.write_back() else { return Ok(Vec::new()) };
        let start = Instant::now();
        map.sync(libc::MS_ASYNC)?;
        let took = ms(start.elapsed());
        let written = self.write_back().unwrap_or(before) - before;
        map.sync(libc::MS_SYNC)?;
        Ok(vec![(COLLECT, took - written)])
    }

    fn second_map(&self) -> Result<Vec<(&'static str, f64)>> {
        let start = Instant::now();
        let second = self.face.map(self.file)?;
        let took = start.elapsed();
        drop(second);
        Ok(vec![(ARM, ms(took))])
    }

    fn open(&mut self, cold: bool) -> Result<Vec<(&'static str, f64)>> {
        drop(self.map.take());
        if cold {
            file::drop_cached(self.file)?;
        }
        let before = self.face.stats();
        let start = Instant::now();
        let map = self.face.map(self.file)?;
        let opened = start.elapsed();
        std::hint::black_box(map.read_all());
        let read = start.elapsed();
        self.map = Some(map);
        let mut values = vec![(OPEN, ms(opened)), (OPEN_AND_READ, ms(read))];
        if let (Some(before), Some(after)) = (before, self.face.stats()) {
            values.push((LOAD, (after.load_ns - before.load_ns) as f64 / 1e6));
        }
        Ok(values)
    }
}

/// So many of a map's pages, the same for the same seed: scattered and in random order, or all in ascending order.
pub(crate) fn choose(of: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut pages: Vec<usize> = (0..of).collect();
    if count < of {
        fastrand::Rng::with_seed(seed).shuffle(&mut pages);
        pages.truncate(count);
    }
    pages
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_pages_for_everyone() {
        let pages = choose(1000, 10, 7);
        assert_eq!(pages, choose(1000, 10, 7));
        assert_ne!(pages, choose(1000, 10, 8));
        let mut once = pages.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), 10);
        assert_eq!(choose(5, 5, 1), [0, 1, 2, 3, 4]);
    }
}
