//! Record locks of this process (L10).

use super::ofd;
use rustix::fd::BorrowedFd;

/// Whether this process holds a `fcntl` record lock on the file behind a descriptor of ours, which closing *any*
/// descriptor of the file would drop.
pub(crate) fn held(fd: BorrowedFd<'_>, ino: u64) -> bool {
    // For a lock of our description, those of this very process are another's. One call tells of most files that nobody
    // has a lock; to read `/proc/locks` may take the kernel milliseconds (it waits for a grace period of RCU).
    ofd::is_held(fd, ofd::WHOLE) && listed(ino)
}

/// Whether `/proc/locks` has a record lock of this process. Where it cannot be read the answer is yes, the careful one.
/// The device is not looked at: it is the superblock's, which on overlayfs and btrfs is not what `fstat` tells.
fn listed(ino: u64) -> bool {
    let Ok(text) = super::text::slurp(c"/proc/locks") else { return true };
    let pid = super::pid().to_string();
    let wanted = format!(":{ino}");
    String::from_utf8_lossy(&text).lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(1).filter(|w| *w != "->");
        words.next() == Some("POSIX") && {
            let mut rest = words.skip(2);
            rest.next() == Some(pid.as_str()) && rest.next().is_some_and(|file| file.ends_with(&wanted))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use rustix::fs::{FlockOperation, fcntl_lock};

    #[test]
    fn only_a_record_lock_of_this_process_counts() {
        let path = std::env::temp_dir().join(format!("mapback-locks-{}", super::super::pid()));
        let open = || {
            std::fs::File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap()
        };
        let (program, ours) = (open(), open());
        let ino = super::super::file::facts(ours.as_fd()).unwrap().ino;
        assert!(!held(ours.as_fd(), ino));
        assert!(ofd::try_lock(program.as_fd(), 3).unwrap());
        assert!(!held(ours.as_fd(), ino), "that of a description ends with it");
        ofd::unlock(program.as_fd(), 3);
        fcntl_lock(&program, FlockOperation::LockShared).unwrap();
        assert!(held(ours.as_fd(), ino));
        fcntl_lock(&program, FlockOperation::Unlock).unwrap();
        assert!(!held(ours.as_fd(), ino));
        std::fs::remove_file(path).unwrap();
    }
}
