//! The block device under a directory, and what it has been told to write.
//!
//! `/proc/self/io` will not do: it charges whole folios when they become dirty, not what is written.

use anyhow::{Context, Result};
use rustix::fs::{major, minor};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Sectors are of this size in the counters, whatever the device's own.
const SECTOR: u64 = 512;

/// The counters of a block device.
#[derive(Debug)]
pub(crate) struct Device {
    stat: PathBuf,
}

impl Device {
    /// The device of a directory's file system; `None` when that has no counters (a network, several disks).
    pub(crate) fn under(dir: &Path) -> Result<Option<Device>> {
        let dev = fs::metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?.dev();
        let base = PathBuf::from(format!("/sys/dev/block/{}:{}", major(dev), minor(dev)));
        // A partition may lack counters of its own; its disk is one level up.
        let found = [base.join("stat"), base.join("../stat")].into_iter().find(|p| written(p).is_some());
        Ok(found.map(|stat| Device { stat }))
    }

    /// Bytes written so far, by anyone.
    pub(crate) fn written(&self) -> Option<u64> {
        written(&self.stat)
    }
}

fn written(stat: &Path) -> Option<u64> {
    sectors_written(&fs::read_to_string(stat).ok()?).map(|sectors| sectors * SECTOR)
}

/// The seventh number: sectors written.
fn sectors_written(stat: &str) -> Option<u64> {
    stat.split_whitespace().nth(6)?.parse().ok()
}

/// The type of the file system that a directory is on, as the kernel names it.
pub(crate) fn file_system(dir: &Path) -> Option<String> {
    let dev = fs::metadata(dir).ok()?.dev();
    let id = format!("{}:{}", major(dev), minor(dev));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|l| l.split(' ').nth(2) == Some(&id))?;
    line.split_once(" - ")?.1.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seventh_number_counts() {
        let stat = " 1224652 60382 301215274 1781879 7620002 107831 912183872 23999643 0 591344 26017003";
        assert_eq!(sectors_written(stat), Some(912_183_872));
        assert_eq!(sectors_written("1 2 3"), None);
    }
}
