//! A process of `--memmap2`: one file, one map.

use super::rival::Rival;
use crate::peer;
use crate::worker::{choose, ms};
use anyhow::{Context, Result, bail};
use mapback_bench::{file, folios};
use std::fs::File;
use std::io;
use std::ops::DerefMut;
use std::path::Path;
use std::time::Instant;

/// A map, and its way of flushing.
enum Map {
    Memmap2(memmap2::MmapMut),
    Flush(mapback::MmapMut),
    Atomic(mapback::MmapMut),
}

impl Map {
    fn new(rival: Rival, file: &File) -> Result<Map> {
        Ok(match rival {
            Rival::Memmap2Large | Rival::Memmap2Small => {
                // SAFETY: a file of this process's own, which nobody cuts or stores to.
                Map::Memmap2(unsafe { memmap2::MmapMut::map_mut(file) }?)
            }
            Rival::FlushLarge | Rival::FlushSmall => Map::Flush(mapback::MmapMut::map_mut(file)?),
            Rival::AtomicLarge | Rival::AtomicSmall => Map::Atomic(mapback::MmapMut::map_mut(file)?),
        })
    }

    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Map::Memmap2(map) => map.deref_mut(),
            Map::Flush(map) | Map::Atomic(map) => map.deref_mut(),
        }
    }

    fn flush(&self) -> io::Result<()> {
        match self {
            Map::Memmap2(map) => map.flush(),
            Map::Flush(map) => map.flush(),
            Map::Atomic(map) => map.flush_atomic(),
        }
    }

    /// Brings what was committed into the file.
    fn settle(&self) -> io::Result<()> {
        match self {
            Map::Atomic(map) => map.flush(),
            _ => Ok(()),
        }
    }
}

/// Makes the file and maps it, then answers each line of input with one of output.
pub(crate) fn main(rival: Rival, dir: &Path, size: u64) -> Result<()> {
    // A journal goes next to its file, so that it needs a name.
    let dir =
        tempfile::tempdir_in(dir).with_context(|| format!("cannot make a directory in {}", dir.display()))?;
    let path = dir.path().join("data");
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    file::fill(&file, rival.folios(), size)
        .with_context(|| format!("cannot make a file of {size} bytes in {}", dir.path().display()))?;
    let mut map = Map::new(rival, &file).context("cannot map the file")?;
    let page = rustix::param::page_size();
    peer::serve(|what| match what.split(' ').collect::<Vec<_>>()[..] {
        ["ready"] => {
            std::hint::black_box(map.bytes().iter().step_by(page).map(|byte| u64::from(*byte)).sum::<u64>());
            Ok(Vec::new())
        }
        ["folios"] => {
            let bytes = map.bytes();
            Ok(folios::mean_size(bytes.as_ptr() as usize, bytes.len() / page).into_iter().collect())
        }
        ["change", pages, seed] => change(&mut map, page, pages.parse()?, seed.parse()?),
        ["settle"] => {
            let start = Instant::now();
            map.settle()?;
            Ok(vec![ms(start.elapsed())])
        }
        _ => bail!("nobody can {what}"),
    })
}

/// Changes a byte of each of some pages and flushes: the time of all of it, of the stores, and of the flush.
fn change(map: &mut Map, page: usize, pages: usize, seed: u64) -> Result<Vec<f64>> {
    let of = map.bytes().len() / page;
    let pages = choose(of, pages, seed);
    let start = Instant::now();
    let bytes = map.bytes();
    for nth in &pages {
        let byte = &mut bytes[nth * page];
        *byte = byte.wrapping_add(1);
    }
    let stored = start.elapsed();
    map.flush()?;
    let total = start.elapsed();
    Ok(vec![ms(total), ms(stored), ms(total - stored)])
}
