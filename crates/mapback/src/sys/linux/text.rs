//! Files of `/proc`, whose text the kernel makes as it is read.

use super::fd::{Private, with_room};
use core::ffi::CStr;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The whole text of such a file.
///
/// # Errors
/// Those of `open` and `read`.
pub(crate) fn slurp(path: &CStr) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = Private::stay(with_room(|| rustix::fs::open(path, flags, Mode::empty()))?);
    let mut text = vec![0u8; 16 * 1024];
    let mut used = 0;
    loop {
        match rustix::io::read(&fd, &mut text[used..]) {
            Ok(0) => break,
            Ok(n) => used += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if used == text.len() {
            text.resize(used * 2, 0);
        }
    }
    text.truncate(used);
    Ok(text)
}
