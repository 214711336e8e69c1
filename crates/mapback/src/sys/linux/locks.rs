//! Record locks of this process, as `/proc/locks` tells them (L10).

use rustix::fs::{Mode, OFlags};

/// Whether this process holds a `fcntl` record lock on the file, which closing *any* descriptor of the file
/// would drop. Where `/proc/locks` cannot be read the answer is yes, the careful one. The device is not looked at:
/// `/proc/locks` names the superblock's, which on overlayfs and btrfs is not what `fstat` tells.
pub(crate) fn held(ino: u64) -> bool {
    let Some(text) = read_all() else { return true };
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

fn read_all() -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = super::fd::with_room(|| rustix::fs::open(c"/proc/locks", flags, Mode::empty())).ok()?;
    let fd = super::fd::Private::stay(fd);
    let mut text = vec![0u8; 16 * 1024];
    let mut used = 0;
    loop {
        match rustix::io::read(&fd, &mut text[used..]) {
            Ok(0) => break,
            Ok(n) => used += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        if used == text.len() {
            text.resize(used * 2, 0);
        }
    }
    text.truncate(used);
    Some(text)
}
