//! The operations on the file's descriptors.

use crate::half::{MOST, pattern};
use crate::op::{Fd, Size};
use crate::side::Call;
use crate::world::{Step, World, equal, errno_name, said, same_bytes};

impl World<'_> {
    pub(crate) fn on_fd(&mut self, call: Call, fd: Fd, [x, y, z]: [usize; 3]) -> Step {
        self.both(call, |half| [half.fd(fd), x, y, z, 0, 0]).map(said)
    }

    /// Reads, or writes when there is a value; compares the bytes that were read.
    pub(crate) fn transfer(
        &mut self,
        call: Call,
        fd: Fd,
        len: Size,
        offset: Size,
        value: Option<u8>,
    ) -> Step {
        let len = len.0.min(MOST);
        for half in &mut self.halves {
            half.buffer[..len].copy_from_slice(pattern(value.unwrap_or(0), len));
        }
        let ret = self.both(call, |half| {
            let (at, n) = (half.buffer.as_ptr() as usize, len);
            half.vectors = [[at, n / 3], [at + n / 3, n - n / 3]];
            match call {
                Call::Preadv | Call::Pwritev => {
                    [half.fd(fd), half.vectors.as_ptr() as usize, half.vectors.len(), offset.0, 0, 0]
                }
                _ => [half.fd(fd), at, n, offset.0, 0, 0],
            }
        })?;
        let [a, b] = &self.halves;
        same_bytes(&a.buffer[..len], &b.buffer[..len], "in the buffer")?;
        Ok(said(ret))
    }

    /// After fsync all is in the file (L3).
    pub(crate) fn flush(&mut self, call: Call, fd: Fd) -> Step {
        let ret = self.both(call, |half| [half.fd(fd), 0, 0, 0, 0, 0])?;
        if ret.is_ok() && fd != Fd::Directory {
            self.compare_file(None, "after the flush")?;
        }
        Ok(said(ret))
    }

    pub(crate) fn reopen(&mut self, fd: Fd, truncate: bool) -> Step {
        if self.unlinked && fd != Fd::Directory {
            return Ok("left out: the file has no name".to_string());
        }
        let writable = matches!(fd, Fd::ReadWrite | Fd::WriteOnly | Fd::Append);
        let more = if truncate && writable { libc::O_TRUNC } else { 0 };
        let [a, b] = self.halves.each_mut().map(|half| half.reopen(fd, more));
        equal(&a.map_err(errno_name), &b.map_err(errno_name), || "returned".to_string())?;
        Ok(said(b))
    }

    pub(crate) fn unlink(&mut self) -> Step {
        self.unlinked = true;
        let [a, b] = self.halves.each_mut().map(|half| half.unlink());
        equal(&a.map_err(errno_name), &b.map_err(errno_name), || "returned".to_string())?;
        Ok(said(b))
    }

    /// Copies in the kernel, between the mapped file and the other.
    pub(crate) fn copy_range(&mut self, fd: Fd, len: Size, offset: Size, into_the_file: bool) -> Step {
        let ret = self.both(Call::CopyFileRange, |half| {
            half.positions = [offset.0, 0];
            let [position, start] = [0, 1].map(|at| &raw mut half.positions[at] as usize);
            let (file, other) = ([half.fd(fd), position], [half.scratch, start]);
            let ([from, at], [to, to_at]) = if into_the_file { (other, file) } else { (file, other) };
            [from, at, to, to_at, len.0, 0]
        })?;
        let [a, b] = self.halves.each_ref().map(|half| half.scratch_content());
        same_bytes(&a, &b, "in the file copied to")?;
        Ok(said(ret))
    }

    pub(crate) fn truncate(&mut self, size: Size) -> Step {
        self.both(Call::Truncate, |half| [half.path(), size.0, 0, 0, 0, 0]).map(said)
    }
}
