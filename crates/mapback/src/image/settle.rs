//! What other processes changed: those that live, and those that died before they wrote it back.
//!
//! The changes of a living process are told by the kernel. Of one that died nothing is left but the memory, so that
//! image and file are compared. That is right only as long as no outsider changed the file, which the stamp in the
//! control block tells: it says how the file was when image and file were last one.

use super::lock::Locked;
use super::shared::{Dir, Record, Slot};
use super::{Image, Next, WriteBackError, to_pages};
use crate::store::{FileStore, read_range};
use crate::sys::Errno;
use crate::sys::os::{self, file::FileId, neighbour};
use core::ops::Range;
use core::sync::atomic::Ordering;
use rustix::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Milliseconds that a process may take from giving up its memory to letting go of its locks.
const PATIENCE: u32 = 1000;

/// What became of the changes that processes left behind when they died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// There are none any more.
    All,
    /// The file was changed by others since: nothing was written.
    Conflict,
    /// This process may not write to the file, or could not compare.
    NotHere,
}

/// The file of an image, whatever it is called by now.
#[derive(Debug)]
pub(crate) struct PathHandle {
    file: os::fd::Private,
    id: FileId,
    path: PathBuf,
}

impl PathHandle {
    /// Whether the file has no name any more: nobody can find what would be written to it.
    pub(crate) fn is_gone(&self) -> bool {
        rustix::fs::fstat(&self.file)
            .map_or_else(|errno| matches!(errno, Errno::STALE | Errno::NOENT), |st| st.st_nlink == 0)
    }
}

impl Image {
    /// Notes what other processes changed in a range, so that this one writes it back too.
    pub(crate) fn gather(&self, range: &Range<u64>) {
        let Some(mut io) = self.lock_current() else { return };
        if io.control.as_ref().is_none_or(|control| control.is_alone() && !self.is_shared())
            || !io.may_write()
        {
            return;
        }
        let Some(control) = &io.control else { return };
        let mut neighbours = control.neighbours();
        for _ in 0..PATIENCE {
            if !self.gather_live(&mut io, &neighbours.live, range) {
                break;
            }
            os::wait_a_millisecond();
            neighbours = io.control.as_ref().map(super::Control::neighbours).unwrap_or_default();
        }
        self.settle_dead(&mut io, neighbours.dead, false);
    }

    /// Notes what the living changed in a range, under the lock. `false`: there may be more that is in no file.
    pub(super) fn gather_here(&self, io: &mut Locked<'_>, range: &Range<u64>) -> bool {
        let Some(control) = io.control.as_ref().filter(|_| self.is_shared()) else { return true };
        let (neighbours, conflict) = (control.neighbours(), control.record().conflict);
        let ends = self.gather_live(io, &neighbours.live, range);
        !ends && !conflict && !neighbours.dead.iter().any(|(_, slot)| slot.owes)
    }

    /// Whether one was about to end.
    fn gather_live(&self, io: &mut Locked<'_>, live: &[Slot], range: &Range<u64>) -> bool {
        let Ok(object) = self.shm.identity() else { return false };
        let mut ended = false;
        for slot in live {
            let mut runs = Vec::new();
            let seen = neighbour::changed(slot.pid, object, &slot.window, range, &mut |run| runs.push(run));
            match seen {
                // Its memory is gone, its locks are not yet: what it leaves is found when they are.
                Ok(None) => ended = true,
                Ok(Some(1..)) => runs.iter().for_each(|run| {
                    io.marks.set(to_pages(&(run.start..run.end.min(self.len()).max(run.start))));
                }),
                // It cannot be asked, or that is not its number here: all may be changed.
                _ if slot.owes => {
                    io.marks.set(to_pages(&(range.start..range.end.min(self.len()).max(range.start))));
                }
                _ => {}
            }
        }
        ended
    }

    /// Settles what dead processes left: marks what differs from the file. `force`: even if others changed it.
    pub(super) fn settle_dead(&self, io: &mut Locked<'_>, dead: Vec<(usize, Slot)>, force: bool) -> Settled {
        let owes = dead.iter().any(|(_, slot)| slot.owes);
        if owes && !io.may_write() {
            return Settled::NotHere;
        }
        let settled = if owes { self.compare_with_file(io, force) } else { Settled::All };
        if settled == Settled::NotHere {
            return settled;
        }
        // Written at once: should we die before, the dead are still entered, and the next one compares again.
        if settled == Settled::All && self.write_pages(io, 0..usize::MAX, Next::Nothing).is_err() {
            return Settled::NotHere;
        }
        if force && let Ok(stamp) = io.stamp() {
            io.has_caught_up(stamp);
        }
        let Some(control) = &mut io.control else { return settled };
        if settled == Settled::Conflict {
            let _ = control.write(Record { conflict: true, ..control.record() });
            crate::report::line(&format!(
                "a process died with changes to {} that it had not written back, and the file was changed by others \
                 since: nothing is overwritten. See `mapback recover --list`",
                self.name.display()
            ));
        }
        for (nth, _) in dead {
            control.forget(nth);
        }
        settled
    }

    /// Marks each page that differs from the file.
    fn compare_with_file(&self, io: &mut Locked<'_>, force: bool) -> Settled {
        const CHUNK: usize = 1 << 20;
        let foreign = io.is_foreign();
        let Ok(stamp) = io.stamp() else { return Settled::NotHere };
        if foreign && !force {
            return Settled::Conflict;
        }
        if stamp.len != self.len() && self.follow_file(io, stamp.len).is_err() {
            return Settled::NotHere;
        }
        let page = os::page_size();
        let (mut was, mut now) = (vec![0u8; CHUNK], vec![0u8; CHUNK]);
        let mut at = 0;
        while at < stamp.len {
            let part = at..stamp.len.min(at + CHUNK as u64);
            let len = (part.end - part.start) as usize;
            // SAFETY: `was` is as long as any part.
            let file = unsafe { read_range(io.store(), was.as_mut_ptr(), part.clone()) };
            let (Ok(file), Ok(memory)) = (file, self.shm.read(&mut now[..len], at)) else {
                return Settled::NotHere;
            };
            let len = (file as usize).min(memory);
            for (nth, (a, b)) in was[..len].chunks(page).zip(now[..len].chunks(page)).enumerate() {
                if a != b {
                    let start = at + (nth * page) as u64;
                    io.marks.set(to_pages(&(start..start + a.len() as u64)));
                }
            }
            at = part.end;
        }
        Settled::All
    }

    /// Looks up the file of an image that is in a directory, without opening it to be read or written.
    ///
    /// # Errors
    /// `ENOENT` when the file is no longer where it was.
    pub(crate) fn find_file(dir: &Dir, name: &str) -> Result<PathHandle, Errno> {
        use rustix::fs::{Mode, OFlags};
        let (control, _) = super::Control::visit(dir, name)?;
        let (id, path) = control.header().ok_or(Errno::ILSEQ)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = os::fd::with_room(|| rustix::fs::open(&path, flags, Mode::empty()))?;
        let file = os::fd::Private::new(file);
        if os::file::identity(file.as_fd())? != id {
            return Err(Errno::NOENT);
        }
        Ok(PathHandle { file, id, path })
    }

    /// Opens an image that is in a directory, to settle it: nobody waits for who does so.
    ///
    /// # Errors
    /// Those of opening the file to be written.
    pub(crate) fn found(dir: &Arc<Dir>, name: &str, file: &PathHandle) -> Result<Image, Errno> {
        let (control, shm) = super::Control::visit(dir, name)?;
        if control.header().is_none_or(|(id, _)| id != file.id) {
            return Err(Errno::NOENT);
        }
        let store = FileStore::open_anew(file.file.as_fd(), true)?;
        let path = file.path.clone();
        Ok(Image::with(file.id, path, shm, store, Some(control), Some(dir.clone()), false))
    }

    /// Settles what the dead left, in an image that was [found](Image::found), and notes what the living changed.
    /// Returns how many live, and what became of the rest.
    pub(crate) fn settle(&self, force: bool) -> (usize, Settled) {
        if !self.is_ready() {
            return (0, Settled::All);
        }
        let Some(mut io) = self.lock_current() else { return (0, Settled::All) };
        let Some(control) = &io.control else { return (0, Settled::All) };
        let neighbours = control.neighbours();
        let conflict = control.record().conflict;
        let mut settled = self.settle_dead(&mut io, neighbours.dead, force);
        if conflict && settled == Settled::All {
            settled = if force { self.compare_with_file(&mut io, true) } else { Settled::Conflict };
            if settled == Settled::All && self.write_pages(&mut io, 0..usize::MAX, Next::Nothing).is_err() {
                settled = Settled::NotHere;
            }
            if settled == Settled::All
                && let Ok(stamp) = io.stamp()
            {
                io.has_caught_up(stamp);
            }
            if let (Settled::All, Some(control)) = (settled, &mut io.control) {
                let _ = control.write(Record { conflict: false, ..control.record() });
            }
        }
        (neighbours.live.len(), settled)
    }

    /// Writes back what living processes changed and the file does not have yet: for a keeper. It has the lock for a
    /// piece at a time, so that nobody waits long; a process that compares is left to do it itself.
    ///
    /// # Errors
    /// The first run that failed.
    pub(crate) fn write_for_others(&self) -> Result<(), WriteBackError> {
        const PIECE: usize = 4 << 20;
        if !self.is_ready() {
            return Ok(());
        }
        let mut changed = {
            let Some(mut io) = self.lock_current() else { return Ok(()) };
            let Some(control) = &io.control else { return Ok(()) };
            let live = control.neighbours().live;
            if live.iter().any(|slot| slot.exact) {
                return Ok(());
            }
            self.gather_live(&mut io, &live, &(0..u64::MAX));
            core::mem::take(&mut io.marks)
        };
        let most = PIECE / os::page_size();
        let mut done = Ok(());
        while let Some(run) = changed.take_run(&(0..usize::MAX), most) {
            // Whoever was the last to go wrote everything back, and the file may be newer than the memory since.
            let Some(mut io) = self.lock_current() else { break };
            self.keep_differing(&mut io, run);
            if !io.marks.is_empty() {
                done = done.and(self.write_pages(&mut io, 0..usize::MAX, Next::Nothing));
                // What failed is still changed where it was changed.
                io.marks = super::Marks::default();
            }
        }
        done
    }

    /// Leaves only those marks of a range that the file does not have so: for who compares and has no copy to compare with,
    /// because others write, too.
    pub(super) fn narrow_down(&self, io: &mut Locked<'_>, pages: &Range<usize>) {
        let most = (1 << 20) / os::page_size();
        let mut all = Vec::new();
        while let Some(run) = io.marks.take_run(pages, most) {
            all.push(run);
        }
        for run in all {
            self.keep_differing(io, run);
        }
    }

    /// Of pages that may have changed, marks those that the file does not have so.
    fn keep_differing(&self, io: &mut Locked<'_>, pages: Range<usize>) {
        let page = os::page_size();
        let bytes = (pages.start * page) as u64..((pages.end * page) as u64).min(self.len());
        let len = bytes.end.saturating_sub(bytes.start) as usize;
        let (mut was, mut now) = (vec![0u8; len], vec![0u8; len]);
        // SAFETY: `was` is as long as the range.
        let file = unsafe { read_range(io.store(), was.as_mut_ptr(), bytes.clone()) };
        let memory = self.shm.read(&mut now, bytes.start);
        let known = matches!((file, memory), (Ok(a), Ok(b)) if a as usize == len && b == len);
        for (nth, (a, b)) in was.chunks(page).zip(now.chunks(page)).enumerate() {
            if !known || a != b {
                io.marks.set(pages.start + nth..pages.start + nth + 1);
            }
        }
    }

    /// Whether there has been a second process; says so to all.
    pub(super) fn note_shared(&self, io: &mut Locked<'_>) {
        self.shared.store(true, Ordering::Relaxed);
        if let Some(control) = &mut io.control
            && !control.record().shared
        {
            let _ = control.write(Record { shared: true, ..control.record() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// What a visitor sees for the first time is no change of its own: a keeper would put it over what outsiders wrote.
    #[test]
    fn a_visitor_counts_nothing_as_changed() {
        let scratch = std::env::temp_dir().join(format!("mapback-visitor-{}", os::pid()));
        let dir = Arc::new(Dir::open(Some(&scratch)).unwrap());
        let path = scratch.join("file");
        std::fs::write(&path, vec![7; 3 * super::super::AHEAD as usize]).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let id = os::file::identity(file.as_fd()).unwrap();
        let owner = Image::new(id, file.as_fd(), true, false, Some(dir.clone())).unwrap();
        owner.load().unwrap();
        let visitor = Image::visit(id, file.as_fd(), true, &dir).unwrap().expect("the image is there");
        assert!(visitor.is_ready() && visitor.is_clean());
        assert_eq!(visitor.len(), owner.len());
        assert!(owner.leave());
        assert!(!visitor.is_ready(), "it has gone with its last owner");
        std::fs::remove_dir_all(scratch).unwrap();
    }
}
