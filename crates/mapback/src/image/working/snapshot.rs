//! Views of a working copy at an instant, which share memory with it.

use super::{Branching, Marks, State, Working, to_bytes};
use crate::sys::os::region::Region;
use core::ops::Range;
use std::io;

/// What a working copy held at an instant. Nobody can change it.
#[derive(Debug)]
pub(crate) struct Frozen {
    region: Region,
    bytes: Range<usize>,
}

impl Frozen {
    /// The bytes of the map.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: inside the region, which nobody stores to; `bytes` is empty for a region without memory.
        unsafe { core::slice::from_raw_parts(self.region.at(self.bytes.start), self.bytes.len()) }
    }
}

impl Working {
    /// What the map holds now. Nobody may store to it meanwhile.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    pub(crate) fn snapshot(&self) -> io::Result<Frozen> {
        self.state().snapshot()
    }
}

impl State {
    fn snapshot(&mut self) -> io::Result<Frozen> {
        let bytes = if self.plan.len == 0 { 0..0 } else { self.bytes() };
        let region = if self.tracker.is_some() && self.region.len() > 0 {
            self.branch()?
        } else {
            // Nobody knows what was stored to since a base was made: all is copied.
            let region = Region::new(self.region.len(), true)?;
            copy(&self.region, &region, &(0..self.region.len()));
            region
        };
        region.protect(crate::sys::os::mem::PROT_READ)?;
        Ok(Frozen { region, bytes })
    }

    /// A region that shares the base, with what was changed since then copied.
    fn branch(&mut self) -> io::Result<Region> {
        let all = 0..self.region.len();
        self.collect(&all);
        let worn = |b: &Branching| b.changed.len() * crate::sys::os::page_size() > all.len() / 2;
        if self.base.as_ref().is_none_or(worn) {
            self.found()?;
        }
        let branching = self.base.as_ref().expect("just made");
        let region = branching.base.branch(self.region.len())?;
        for run in branching.changed.runs() {
            let bytes = to_bytes(&run);
            copy(&self.region, &region, &(bytes.start..bytes.end.min(self.region.len())));
        }
        Ok(region)
    }

    /// Makes a base of what the memory holds now.
    fn found(&mut self) -> io::Result<()> {
        let kind = self.tracker;
        // The memory is exchanged for other memory with the same content, of which a tracker knows nothing. It is as
        // writable all the time as it has to be afterwards: the system may refuse to make it so. Nobody stores meanwhile.
        self.retire(self.prot());
        let made = self.region.found(self.prot());
        let rearmed = self.rearm(kind);
        self.base = Some(Branching { base: made?, changed: Marks::default() });
        rearmed
    }
}

fn copy(from: &Region, to: &Region, bytes: &Range<usize>) {
    if bytes.is_empty() {
        return;
    }
    // SAFETY: both are inside their regions. `to` is known to nobody yet, and nobody stores to `from`: a reference to
    // the map is borrowed.
    unsafe { core::ptr::copy_nonoverlapping(from.at(bytes.start), to.at(bytes.start), bytes.len()) };
}
