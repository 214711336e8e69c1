//! Journals that atomic flushes of the Rust face left behind: written to their files before those are loaded.

use super::{Image, Io, working};
use crate::sys::Errno;
use std::io::ErrorKind;

impl Image {
    /// Brings the file to the state of its last commit. One system call where there is no journal.
    ///
    /// # Errors
    /// `EBUSY` for a journal that is in use, where this process may write the file; `EACCES` for commits that cannot be
    /// written; `EIO` for a journal that cannot be believed. A line says why.
    pub(super) fn replay_journal(&self, io: &Io) -> Result<(), Errno> {
        working::replay_left(&self.name, io.store()).map_err(|error| {
            crate::report::line(&format!("no map of {}: {error}", self.name.display()));
            match error.kind() {
                ErrorKind::WouldBlock => Errno::BUSY,
                ErrorKind::PermissionDenied => Errno::ACCESS,
                _ => Errno::IO,
            }
        })
    }
}
