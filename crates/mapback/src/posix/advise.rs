//! `madvise`: most advice is the kernel's to take. Some would break tracking, or speaks of the file.

use super::state::Part;
use super::{Space, both, span};
use crate::sys::Errno;
use crate::sys::os::mem::{self, PROT_WRITE, advice};

impl Space {
    /// `madvise`.
    ///
    /// # Safety
    /// As `madvise`: some advice discards content.
    ///
    /// # Errors
    /// Those of `madvise`.
    pub unsafe fn madvise(&self, addr: usize, len: usize, advice: i32) -> Result<(), Errno> {
        // SAFETY: the caller's own request.
        let ask = || unsafe { mem::madvise(addr, len, advice) };
        let ours = matches!(
            advice,
            advice::DONTNEED
                | advice::DONTNEED_LOCKED
                | advice::REMOVE
                | advice::DONTFORK
                | advice::DOFORK
                | advice::POPULATE_WRITE
        );
        let whole = span(addr, len).filter(|_| ours && self.has_maps());
        let Some(range) = whole else { return ask() };
        let parts = self.enter().maps.overlapping(&range);
        if parts.is_empty() {
            return ask();
        }
        match advice {
            // SAFETY: as above.
            advice::DONTNEED | advice::DONTNEED_LOCKED => unsafe { self.dont_need(&range, advice, &parts) },
            advice::DONTFORK | advice::DOFORK => {
                let done = ask();
                self.note_fork_advice(&parts, advice == advice::DONTFORK);
                done
            }
            advice::REMOVE => {
                for (part, map) in &parts {
                    if !map.shared || map.allowed & PROT_WRITE == 0 {
                        return Err(if map.shared { Errno::ACCESS } else { Errno::INVAL });
                    }
                    self.punch(&map.image, map.bytes(part))?;
                }
                Ok(())
            }
            _ => {
                let _held = crate::track::fault::hold(range);
                ask()
            }
        }
    }

    /// `MADV_DONTNEED`: a shared map keeps its changes, so nothing needs to be done to it, and dropping the page
    /// table would make the tracker forget. Private parts lose theirs, as the kernel does it.
    unsafe fn dont_need(
        &self,
        range: &core::ops::Range<usize>,
        advice: i32,
        parts: &[Part],
    ) -> Result<(), Errno> {
        let mut done = Ok(());
        let mut at = range.start;
        for (part, _) in parts.iter().filter(|(_, m)| m.shared) {
            // The kernel tells of locked pages in this way too, and does nothing else with memory of ours.
            let locked = mem::msync(part.start, part.len(), mem::MS_INVALIDATE) == Err(Errno::BUSY);
            if locked && advice == advice::DONTNEED {
                return Err(Errno::INVAL);
            }
        }
        let shared = parts.iter().filter(|(_, m)| m.shared).map(|(r, _)| r.clone());
        for part in shared.chain(core::iter::once(range.end..range.end)) {
            if at < part.start {
                // SAFETY: the caller's own request, for a part of its range.
                done = both(done, unsafe { mem::madvise(at, part.start - at, advice) });
            }
            at = part.end;
        }
        done
    }

    fn note_fork_advice(&self, parts: &[Part], no_fork: bool) {
        let mut state = self.enter();
        for (range, _) in parts {
            for (part, mut map) in state.maps.overlapping(range) {
                map.no_fork = no_fork;
                state.maps.insert(part, map);
            }
        }
    }
}
