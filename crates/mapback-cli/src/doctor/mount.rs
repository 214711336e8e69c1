//! Which mount a file lies on.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

/// One mount of /proc/self/mountinfo.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: String,
    /// The file system's type, such as `ext4` or `fuse.sshfs`.
    pub kind: String,
    /// What is mounted.
    pub source: String,
}

/// The mount that an open file lies on.
pub fn of(file: impl AsFd) -> Option<Mount> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd())).ok()?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    find(&fs::read_to_string("/proc/self/mountinfo").ok()?, id)
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG:VALUE]… - TYPE SOURCE OPTIONS`, see proc(5).
fn find(mountinfo: &str, id: &str) -> Option<Mount> {
    let line = mountinfo.lines().find(|line| line.split(' ').next() == Some(id))?;
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    Some(Mount {
        point: unescape(left.split(' ').nth(4)?),
        kind: right.next()?.to_owned(),
        source: unescape(right.next()?),
    })
}

/// Spaces and the like stand as `\040`.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read() {
        let text = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    45 22 0:40 / /mnt/a\\040b rw,nosuid shared:7 master:1 - fuse.bindfs /srv\\040x rw\n";
        let mount = find(text, "45").unwrap();
        assert_eq!(
            (mount.point.as_str(), mount.kind.as_str(), mount.source.as_str()),
            ("/mnt/a b", "fuse.bindfs", "/srv x")
        );
        assert_eq!(find(text, "2"), None);
        assert_eq!(find(text, "22").unwrap().kind, "ext4");
    }
}
