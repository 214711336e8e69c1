//! Record locks of this process, as `/proc/locks` tells them (L10).

/// Whether this process holds a `fcntl` record lock on the file, which closing *any* descriptor of the file
/// would drop. Where `/proc/locks` cannot be read the answer is yes, the careful one. The device is not looked at:
/// `/proc/locks` names the superblock's, which on overlayfs and btrfs is not what `fstat` tells.
pub(crate) fn held(ino: u64) -> bool {
    let Ok(text) = super::file::slurp(c"/proc/locks") else { return true };
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
