//! The files that are mapped. Those that are made here have no name, so that nothing is left behind, however a run ends.

use crate::Contender;
use rustix::fs::Advice;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const CHUNK: usize = 1 << 20;

/// Makes a file of `len` bytes that lies in the page cache as the contender wants it.
///
/// # Errors
/// Those of making and writing files, `ENOSPC` first of all.
pub fn make(contender: Contender, dir: &Path, len: u64) -> io::Result<File> {
    let file = tempfile::tempfile_in(dir)?;
    fill(&file, contender, len)?;
    Ok(file)
}

/// Fills an empty file as [`make`] does.
///
/// # Errors
/// Those of writing, `ENOSPC` first of all.
pub fn fill(file: &File, contender: Contender, len: u64) -> io::Result<()> {
    // Content that neither a file system nor a disk can make smaller.
    let mut random = fastrand::Rng::with_seed(len);
    let mut chunk = vec![0; CHUNK];
    for at in (0..len).step_by(CHUNK) {
        random.fill(&mut chunk);
        let part = (len - at).min(CHUNK as u64) as usize;
        file.write_all_at(&chunk[..part], at)?;
    }
    file.sync_all()?;
    if contender == Contender::KernelSmall {
        drop_cached(file)?;
        fill_with_pages(file)?;
    }
    Ok(())
}

/// Takes a file that nobody maps out of the page cache.
///
/// # Errors
/// Those of `fdatasync` and `posix_fadvise`.
pub fn drop_cached(file: &File) -> io::Result<()> {
    // Only what is clean can be dropped.
    file.sync_data()?;
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

/// Reads a file into the page cache in folios of one page: without read-ahead the kernel takes no larger ones.
fn fill_with_pages(file: &File) -> io::Result<()> {
    rustix::fs::fadvise(file, 0, None, Advice::Random)?;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    loop {
        match file.read_at(&mut chunk, at)? {
            0 => break,
            n => at += n as u64,
        }
    }
    Ok(rustix::fs::fadvise(file, 0, None, Advice::Normal)?)
}
