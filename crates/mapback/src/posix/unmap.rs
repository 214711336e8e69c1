//! `munmap`.

use super::{Space, span};
use crate::sys::Errno;
use crate::sys::os::mem;

impl Space {
    /// `munmap`: shared changes are written back, private ones are gone.
    ///
    /// # Safety
    /// As `munmap`: nobody may use the range afterwards.
    ///
    /// # Errors
    /// Those of `munmap`. A write-back that fails is reported, and tried again as long as the process lives.
    pub unsafe fn munmap(&self, addr: usize, len: usize) -> Result<(), Errno> {
        // SAFETY: the caller's own request.
        let ask = || unsafe { mem::munmap(addr, len) };
        match span(addr, len) {
            Some(range) if self.has_maps() => self.replacing(range.clone(), |state| {
                ask()?;
                state.maps.remove(&range);
                Ok(())
            }),
            _ => ask(),
        }
    }
}
