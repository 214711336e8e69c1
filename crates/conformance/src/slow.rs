//! A disk that is slow for some processes, as the system's own limits make it.

use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A control group whose members may begin only so many writes a second on one disk. What they have begun goes on
/// when they are killed.
#[derive(Debug)]
pub struct SlowDisk {
    group: PathBuf,
    limit: PathBuf,
    /// What is written there to have no limit.
    free: String,
}

impl SlowDisk {
    /// A group for the disk that holds `file`. `None`: the file is on no disk, or this system has no such limits.
    pub fn of(file: &File, writes_per_second: u32) -> Option<SlowDisk> {
        let disk = disk_of(file)?;
        let name = format!("mapback-test-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/blkio");
        if old.exists() {
            let limited = format!("{disk} {writes_per_second}");
            return SlowDisk::make(
                old.join(name),
                "blkio.throttle.write_iops_device",
                &limited,
                format!("{disk} 0"),
            );
        }
        let new = Path::new("/sys/fs/cgroup");
        fs::write(new.join("cgroup.subtree_control"), "+io").ok()?;
        let limited = format!("{disk} wiops={writes_per_second}");
        SlowDisk::make(new.join(name), "io.max", &limited, format!("{disk} wiops=max"))
    }

    fn make(group: PathBuf, limit: &str, limited: &str, free: String) -> Option<SlowDisk> {
        fs::create_dir(&group).ok()?;
        let slow = SlowDisk { limit: group.join(limit), group, free };
        fs::write(&slow.limit, limited).ok()?;
        Some(slow)
    }

    /// Makes the disk slow for a process.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn hold(&self, pid: i32) {
        fs::write(self.group.join("cgroup.procs"), pid.to_string()).expect("a process joins the group");
    }

    /// Ends the limit, for what has begun too.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn release(&self) {
        fs::write(&self.limit, &self.free).expect("the limit's end");
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = fs::write(&self.limit, &self.free);
        // Members that are about to end may be in it for a moment.
        let busy = |error: &io::Error| error.kind() == io::ErrorKind::ResourceBusy;
        for _ in 0..1000 {
            if !fs::remove_dir(&self.group).is_err_and(|error| busy(&error)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// The whole disk that a file is on, as `major:minor`.
fn disk_of(file: &File) -> Option<String> {
    let dev = file.metadata().ok()?.dev();
    let (major, minor) = (libc::major(dev), libc::minor(dev));
    let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let whole = if device.join("partition").exists() { device.parent()?.to_owned() } else { device };
    Some(fs::read_to_string(whole.join("dev")).ok()?.trim().to_owned())
}
