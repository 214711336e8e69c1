//! `madvise`: most advice is the kernel's to take. Some would break tracking, or speaks of the file.

use super::state::Part;
use super::{Space, both, span};
use crate::sys::Errno;
use crate::sys::os::mem::{self, PROT_READ, PROT_WRITE, advice};

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
                | advice::POPULATE_READ
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
            advice::POPULATE_READ => {
                // Under `fault` a page may be readable that the program made writable only.
                let unreadable = parts.iter().find(|(_, map)| map.prot & PROT_READ == 0);
                let Some((part, _)) = unreadable else { return ask() };
                if part.start > addr {
                    // SAFETY: the caller's own request, for a part of its range.
                    unsafe { mem::madvise(addr, part.start - addr, advice) }?;
                }
                Err(Errno::INVAL)
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
        let shared = parts.iter().filter(|(_, m)| m.shared).map(|(r, _)| r.clone());
        for part in shared.chain(core::iter::once(range.end..range.end)) {
            if at < part.start {
                // SAFETY: the caller's own request, for a part of its range.
                let here = unsafe { mem::madvise(at, part.start - at, advice) };
                // Only a hole does not end the walk.
                if !matches!(here, Ok(()) | Err(Errno::NOMEM)) {
                    return here;
                }
                done = both(done, here);
            }
            // The kernel tells of locked pages in this way too, and does nothing else with memory of ours.
            let locked = mem::msync(part.start, part.len(), mem::MS_INVALIDATE) == Err(Errno::BUSY);
            if locked && advice == advice::DONTNEED {
                return Err(Errno::INVAL);
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
