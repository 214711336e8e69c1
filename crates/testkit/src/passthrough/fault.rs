//! Write errors on demand, as a full or broken disk would give them.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

/// Which error writes shall fail with, and how many bytes go through first: `ENOSPC`, `EIO:after=65536`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteFault {
    /// The error that `write` and `fallocate` return.
    pub errno: Errno,
    /// So many bytes are still written before the first failure.
    pub after: u64,
}

const NAMES: [(&str, Errno); 6] = [
    ("ENOSPC", Errno::NOSPC),
    ("EIO", Errno::IO),
    ("EDQUOT", Errno::DQUOT),
    ("EFBIG", Errno::FBIG),
    ("EROFS", Errno::ROFS),
    ("EPERM", Errno::PERM),
];

impl FromStr for WriteFault {
    type Err = String;

    fn from_str(text: &str) -> Result<WriteFault, String> {
        let (name, after) = text.split_once(':').unwrap_or((text, "after=0"));
        let errno = NAMES.iter().find(|(known, _)| *known == name).map(|&(_, errno)| errno);
        let errno = errno.ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|&(name, _)| name).collect();
            format!("unknown error '{name}': use one of {}", known.join(", "))
        })?;
        let after = after.strip_prefix("after=").and_then(|bytes| bytes.parse().ok());
        let after = after.ok_or_else(|| format!("'{text}': after the colon write after=BYTES"))?;
        Ok(WriteFault { errno, after })
    }
}

impl fmt::Display for WriteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|&&(_, errno)| errno == self.errno) {
            Some((name, _)) => write!(f, "{name}:after={}", self.after),
            None => write!(f, "errno {}:after={}", self.errno.raw_os_error(), self.after),
        }
    }
}

/// What has been written, and what a write may still do. Shared by the file system and its control.
#[derive(Default)]
pub struct WriteGate(Mutex<Gate>);

#[derive(Default)]
struct Gate {
    configured: Option<WriteFault>,
    active: Option<WriteFault>,
    totals: WriteTotals,
}

/// Counts of what reached the underlying files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteTotals {
    /// Write requests that wrote something.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Write and fallocate requests that were made to fail.
    pub failed: u64,
}

impl WriteGate {
    /// A gate that starts with `fault`.
    pub fn new(fault: Option<WriteFault>) -> WriteGate {
        let gate = WriteGate::default();
        if let Some(fault) = fault {
            gate.arm(fault);
        }
        gate
    }

    /// From now on writes fail as `fault` says.
    pub fn arm(&self, fault: WriteFault) {
        let mut gate = self.lock();
        gate.configured = Some(fault);
        gate.active = Some(fault);
    }

    /// From now on writes succeed.
    pub fn heal(&self) {
        self.lock().active = None;
    }

    /// Heals an active fault, or arms the last one again (ENOSPC where there has been none).
    pub fn toggle(&self) {
        let mut gate = self.lock();
        gate.active = match gate.active {
            Some(_) => None,
            None => Some(gate.configured.unwrap_or(WriteFault { errno: Errno::NOSPC, after: 0 })),
        };
    }

    /// What has been counted so far.
    pub fn totals(&self) -> WriteTotals {
        self.lock().totals
    }

    /// How many of `len` bytes may be written now; they count as used up.
    pub(super) fn admit(&self, len: usize) -> Result<usize, Errno> {
        let mut gate = self.lock();
        let Some(fault) = &mut gate.active else { return Ok(len) };
        let admitted = len.min(usize::try_from(fault.after).unwrap_or(usize::MAX));
        if admitted == 0 && len > 0 {
            let errno = fault.errno;
            gate.totals.failed += 1;
            return Err(errno);
        }
        fault.after -= admitted as u64;
        Ok(admitted)
    }

    pub(super) fn count(&self, bytes: usize) {
        let mut gate = self.lock();
        gate.totals.writes += 1;
        gate.totals.bytes += bytes as u64;
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_faults() {
        let fault: WriteFault = "EIO:after=10".parse().unwrap();
        assert_eq!(fault, WriteFault { errno: Errno::IO, after: 10 });
        assert_eq!(fault.to_string(), "EIO:after=10");
        assert_eq!("ENOSPC".parse::<WriteFault>().unwrap().after, 0);
        assert!("EWHAT".parse::<WriteFault>().unwrap_err().contains("ENOSPC"));
        assert!("EIO:10".parse::<WriteFault>().unwrap_err().contains("after="));
    }

    #[test]
    fn admits_up_to_the_limit_then_fails_until_healed() {
        let gate = WriteGate::new(Some(WriteFault { errno: Errno::NOSPC, after: 10 }));
        assert_eq!(gate.admit(6), Ok(6));
        assert_eq!(gate.admit(6), Ok(4));
        assert_eq!(gate.admit(1), Err(Errno::NOSPC));
        gate.toggle();
        assert_eq!(gate.admit(100), Ok(100));
        gate.toggle();
        assert_eq!(gate.admit(100), Ok(10));
        assert_eq!(gate.totals().failed, 1);
    }
}
