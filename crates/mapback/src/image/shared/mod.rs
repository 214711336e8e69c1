//! What makes one image out of those of several processes: a directory where they find it, a control block that says
//! how far it is, and locks that die with their owner.
//!
//! An image has two files in the directory: `NAME.img` is its memory, `NAME.ctl` the control block. Bytes of the
//! control block are locked, by the open file description: `ATTACH` while somebody comes or goes, `IO` while content
//! moves between memory and store, and one byte for each process that has the image, held as long as it lives.
//! Locks are taken in the order `ATTACH`, `IO`.

mod aside;
mod dir;
mod record;
mod users;

pub(crate) use aside::{discard_stray, strays};
pub(crate) use dir::Dir;
pub(crate) use record::{Record, Slot, Stage};
pub(crate) use users::Presence;

use crate::sys::Errno;
use crate::sys::os::fd::Private;
use crate::sys::os::file::{self, FileId};
use crate::sys::os::{self, ofd, shm::Shm};
use core::ops::Range;
use record::{HEADER, MOST_SLOTS, RECORD, SLOT, SLOTS};
use rustix::fd::{AsFd, BorrowedFd};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const ATTACH: u64 = 0;
const IO: u64 = 1;
const FIRST: u64 = 16;
const ALL: Range<u64> = FIRST..FIRST + MOST_SLOTS as u64;

/// How often an attachment is tried anew when the files change under it.
const TRIES: usize = 100;

/// The control block of one image, as one process has it.
#[derive(Debug)]
pub(crate) struct Control {
    file: Private,
    name: String,
    /// `None`: a visitor, whose coming and going nobody waits for.
    slot: Option<usize>,
    record: Record,
    own: Slot,
}

/// The other processes that are entered in a control block.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    pub(crate) live: Vec<Slot>,
    /// Those that ended without taking their leave, by the number of the slot.
    pub(crate) dead: Vec<(usize, Slot)>,
}

/// The name of an image's files, without the suffix.
pub(crate) fn name_of(id: &FileId) -> String {
    format!("{:x}-{:x}-{:x}-{:x}", id.dev, id.ino, id.birth, id.handle)
}

fn ctl(name: &str) -> String {
    format!("{name}.ctl")
}

fn img(name: &str) -> String {
    format!("{name}.img")
}

/// A memory of which nobody knows what it is.
fn lost(name: &str) -> String {
    format!("{name}.lost")
}

/// The names of all images in a directory.
///
/// # Errors
/// Those of reading a directory.
pub(crate) fn all(dir: &Dir) -> Result<Vec<String>, Errno> {
    dir.list(".ctl")
}

impl Control {
    /// Enters this process among those that have the image of a file; makes its files if there are none.
    ///
    /// # Errors
    /// `EIO` when the control block cannot be read and others go on using it; `EAGAIN` when there are too many; those
    /// of opening files.
    pub(crate) fn attach(dir: &Dir, id: &FileId, path: &Path) -> Result<(Control, Shm), Errno> {
        let name = name_of(id);
        for _ in 0..TRIES {
            let Some(file) = ours_or_cleared(dir, &ctl(&name))? else { continue };
            ofd::lock(file.as_fd(), ATTACH)?;
            // Whoever went last may have taken the name away while we waited.
            if !dir.names(&ctl(&name), file.as_fd()) {
                continue;
            }
            let used = ofd::is_held(file.as_fd(), ALL);
            let memory = match dir.file(&img(&name), false) {
                Ok(memory) => memory,
                Err(Errno::NOENT) if used => return Err(without_memory(dir, &name, path)),
                Err(errno) if used => return Err(errno),
                // It was taken away or set aside, and whoever did so died before this could go, too. Visitors know by the
                // name's end that there is another one.
                Err(Errno::NOENT) if file::facts(file.as_fd())?.len > 0 => {
                    dir.remove(&ctl(&name));
                    continue;
                }
                Err(_) => {
                    dir.remove(&img(&name));
                    dir.file(&img(&name), true)?
                }
            };
            let mut control =
                Control { file, name, slot: None, record: Record::default(), own: Slot::default() };
            let shm = control.prepare(dir, id, path, memory, used)?;
            control.take_slot(os::pid())?;
            ofd::unlock(control.file.as_fd(), ATTACH);
            return Ok((control, shm));
        }
        Err(Errno::AGAIN)
    }

    /// Opens the control block of an image that is there, without entering.
    ///
    /// # Errors
    /// `ENOENT` when there is none; those of opening files.
    pub(crate) fn visit(dir: &Dir, name: &str) -> Result<(Control, Shm), Errno> {
        loop {
            let file = dir.file(&ctl(name), false)?;
            let memory = dir.file(&img(name), false);
            // Else the second may be that of another image than the first.
            if dir.names(&ctl(name), file.as_fd()) {
                let own = Slot::default();
                let control = Control { file, name: name.into(), slot: None, record: Record::default(), own };
                return Ok((control, Shm::of(memory?)));
            }
        }
    }

    /// Sees that the record is sound and the memory what it speaks of; begins anew where they are not.
    fn prepare(
        &mut self,
        dir: &Dir,
        id: &FileId,
        path: &Path,
        memory: Private,
        used: bool,
    ) -> Result<Shm, Errno> {
        let sound = self.read_record().is_some() && self.header().is_some_and(|(known, _)| known == *id);
        if sound {
            return Ok(Shm::of(memory));
        }
        if used {
            crate::report::line(&format!(
                "the control block {} is damaged while others use it: no new map of {}. \
                 End them, then run `mapback recover --all`",
                dir.path().join(ctl(&self.name)).display(),
                path.display()
            ));
            return Err(Errno::IO);
        }
        let left = file::facts(memory.as_fd())?.len;
        let memory = if left == 0 {
            memory
        } else {
            self.give_up(dir)?;
            dir.file(&img(&self.name), true)?
        };
        let shm = Shm::of(memory);
        rustix::fs::ftruncate(&self.file, 0)?;
        shm.resize(0)?;
        self.put(&record::encode_header(id, path.as_os_str().as_bytes()), HEADER.start)?;
        self.write(Record::default())?;
        Ok(shm)
    }

    /// Takes a slot that nobody has or had; the caller has `ATTACH`.
    fn take_slot(&mut self, pid: i32) -> Result<(), Errno> {
        let entered = self.slots();
        for nth in 0..MOST_SLOTS {
            let free = entered.get(nth).is_none_or(Option::is_none);
            if free && ofd::try_lock(self.file.as_fd(), FIRST + nth as u64)? {
                self.slot = Some(nth);
                self.own = Slot { pid, ..Slot::default() };
                return self.write_slot();
            }
        }
        Err(Errno::AGAIN)
    }

    /// A second description and a slot for a child that is about to be forked. It is entered before there is a child, so
    /// that the parent is never the last, even if it takes its leave before the child runs.
    ///
    /// # Errors
    /// As [`Control::attach`].
    pub(crate) fn for_child(&self, dir: &Dir) -> Result<Control, Errno> {
        let file = dir.file(&ctl(&self.name), false)?;
        let (new, old) = (file::facts(file.as_fd())?, file::facts(self.file.as_fd())?);
        if (new.dev, new.ino) != (old.dev, old.ino) {
            return Err(Errno::NOENT);
        }
        let own = Slot::default();
        let mut child = Control { file, name: self.name.clone(), slot: None, record: self.record, own };
        ofd::lock(child.file.as_fd(), ATTACH)?;
        // Nobody's yet: a child that never runs has stored nothing.
        let taken = child.take_slot(0);
        ofd::unlock(child.file.as_fd(), ATTACH);
        taken.map(|()| child)
    }

    /// In the child: goes on with what [`Control::for_child`] prepared, and lets go of the parent's.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn become_child(&mut self, child: Control) -> Result<(), Errno> {
        let own = Slot { pid: os::pid(), ..self.own.clone() };
        *self = Control { own, record: self.record, ..child };
        self.write_slot()
    }

    /// Takes `IO`, and looks at the record anew.
    pub(crate) fn lock(&mut self) {
        // It fails only for want of kernel memory, and a write-back that is not serial is better than none.
        let _ = ofd::lock(self.file.as_fd(), IO);
        if let Some(record) = self.read_record() {
            self.record = record;
        }
    }

    /// Ends [`Control::lock`].
    pub(crate) fn unlock(&self) {
        ofd::unlock(self.file.as_fd(), IO);
    }

    /// The file on which this process's locks are.
    pub(crate) fn lock_file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The record, as it was when `IO` was taken.
    pub(crate) fn record(&self) -> Record {
        self.record
    }

    /// Changes the record; the caller has `IO`.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn write(&mut self, record: Record) -> Result<(), Errno> {
        self.record = record;
        self.put(&record.encode(), 0)
    }

    /// Whether no other process is entered and alive.
    pub(crate) fn is_alone(&self) -> bool {
        !ofd::is_held(self.file.as_fd(), ALL)
    }

    /// Whether the files are still those that the next process would find.
    pub(crate) fn is_current(&self, dir: &Dir) -> bool {
        dir.names(&ctl(&self.name), self.file.as_fd())
    }

    /// Says where the library's own view lies.
    pub(crate) fn set_window(&mut self, window: Range<usize>) {
        if self.slot.is_some() && self.own.window != window {
            self.own.window = window;
            let _ = self.write_slot();
        }
    }

    /// Says whether this process may have stored what is not written back, and whether it compares.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn set_owes(&mut self, owes: bool, exact: bool) -> Result<(), Errno> {
        if self.slot.is_none() || (self.own.owes, self.own.exact) == (owes, exact) {
            return Ok(());
        }
        (self.own.owes, self.own.exact) = (owes, exact);
        self.write_slot()
    }

    /// Whether this process is no more than a visitor.
    pub(crate) fn is_visitor(&self) -> bool {
        self.slot.is_none()
    }

    /// The other processes; the caller has `IO`.
    pub(crate) fn neighbours(&self) -> Neighbours {
        let mut all = Neighbours::default();
        for (nth, slot) in self.slots().into_iter().enumerate() {
            let Some(slot) = slot.filter(|_| Some(nth) != self.slot) else { continue };
            let byte = FIRST + nth as u64;
            if ofd::is_held(self.file.as_fd(), byte..byte + 1) {
                all.live.push(slot);
            } else {
                all.dead.push((nth, slot));
            }
        }
        all
    }

    /// Forgets a process that ended, once what it left is settled; the caller has `IO`.
    pub(crate) fn forget(&self, nth: usize) {
        let _ = self.put(&[0; SLOT], SLOTS + (nth * SLOT) as u64);
    }

    /// Takes leave. Whoever is the last takes the files away, unless somebody who died left what is in no file yet.
    pub(crate) fn leave(self, dir: &Dir) {
        if ofd::lock(self.file.as_fd(), ATTACH).is_err() {
            return;
        }
        if let Some(nth) = self.slot {
            self.forget(nth);
            ofd::unlock(self.file.as_fd(), FIRST + nth as u64);
        }
        self.clear_away(dir);
        // Closing is not enough where a forked child has the description, too.
        ofd::unlock(self.file.as_fd(), ATTACH);
    }

    /// Takes the files away if nobody uses or needs them; the caller has `ATTACH`.
    fn clear_away(&self, dir: &Dir) {
        // A visitor or a keeper may be at work: the image goes when it is done, and the next one asks anew.
        let _ = ofd::lock(self.file.as_fd(), IO);
        self.clear_away_locked(dir);
        ofd::unlock(self.file.as_fd(), IO);
    }

    fn clear_away_locked(&self, dir: &Dir) {
        if !self.is_alone() || !self.is_current(dir) {
            return;
        }
        if self.is_damaged(dir) {
            if self.give_up(dir).is_ok() {
                dir.remove(&ctl(&self.name));
            }
        } else if self.slots().iter().flatten().any(|slot| slot.owes) {
            // Somebody has to settle that first.
        } else if self.read_record().is_some_and(|r| r.conflict) {
            // Should it fail, all stays where it is, and is found there.
            let _ = self.move_aside(dir);
        } else {
            dir.remove(&img(&self.name));
            dir.remove(&ctl(&self.name));
        }
    }

    /// Takes a control block away whose memory is gone: whoever took that away died over it.
    pub(crate) fn clear_lone(dir: &Dir, name: &str) {
        let Ok(file) = dir.file(&ctl(name), false) else { return };
        if ofd::lock(file.as_fd(), ATTACH).is_ok() {
            let used = ofd::is_held(file.as_fd(), ALL);
            if !used && dir.is_free(&img(name)) && dir.names(&ctl(name), file.as_fd()) {
                dir.remove(&ctl(name));
            }
            ofd::unlock(file.as_fd(), ATTACH);
        }
    }

    /// Takes the files away whatever they hold, if nobody uses them.
    pub(crate) fn discard(self, dir: &Dir) {
        if ofd::lock(self.file.as_fd(), ATTACH).is_err() {
            return;
        }
        let _ = ofd::lock(self.file.as_fd(), IO);
        if self.is_alone() && self.is_current(dir) {
            dir.remove(&img(&self.name));
            dir.remove(&ctl(&self.name));
        }
        ofd::unlock(self.file.as_fd(), IO);
        ofd::unlock(self.file.as_fd(), ATTACH);
    }

    /// The file's identity and its path when it was mapped first.
    pub(crate) fn header(&self) -> Option<(FileId, PathBuf)> {
        let (id, name) = record::decode_header(&self.get(HEADER).ok()?)?;
        Some((id, PathBuf::from(OsString::from_vec(name))))
    }

    fn read_record(&self) -> Option<Record> {
        Record::decode(self.get(0..RECORD as u64).ok()?.as_slice().try_into().ok()?)
    }

    fn write_slot(&self) -> Result<(), Errno> {
        self.slot.map_or(Ok(()), |nth| self.put(&self.own.encode(), SLOTS + (nth * SLOT) as u64))
    }

    /// All slots that were ever taken.
    fn slots(&self) -> Vec<Option<Slot>> {
        let bytes = self.get(SLOTS..SLOTS + (MOST_SLOTS * SLOT) as u64).unwrap_or_default();
        bytes.chunks_exact(SLOT).map(|slot| Slot::decode(slot.try_into().expect("of this size"))).collect()
    }

    /// What the file has of a range.
    fn get(&self, range: Range<u64>) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        // SAFETY: a vector of our own.
        let n = unsafe { file::pread(self.file.as_fd(), bytes.as_mut_ptr(), bytes.len(), range.start) }?;
        bytes.truncate(n);
        Ok(bytes)
    }

    fn put(&self, bytes: &[u8], off: u64) -> Result<(), Errno> {
        let end = off + bytes.len() as u64;
        let fd = self.file.as_fd();
        // SAFETY: a slice.
        let write = || unsafe { file::pwrite(fd, bytes.as_ptr(), bytes.len(), off, false) };
        let n = file::with_file_size(end, write)?;
        if n == bytes.len() { Ok(()) } else { Err(Errno::NOSPC) }
    }
}

/// Opens a file of ours; clears away what stands in its place and is none. `None`: try again.
fn ours_or_cleared(dir: &Dir, name: &str) -> Result<Option<Private>, Errno> {
    match dir.file(name, true) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::ACCESS | Errno::LOOP | Errno::NXIO) => {
            crate::report::line(&format!(
                "{} is not a file of mapback's; taking the name away",
                dir.path().join(name).display()
            ));
            dir.remove(name);
            Ok(None)
        }
        Err(errno) => Err(errno),
    }
}

/// Says why there is no map of a file whose memory has lost its name.
fn without_memory(dir: &Dir, name: &str, path: &Path) -> Errno {
    crate::report::line(&format!(
        "somebody has removed {} while others use it: no new map of {}. End them, and begin anew",
        dir.path().join(img(name)).display(),
        path.display()
    ));
    Errno::IO
}
