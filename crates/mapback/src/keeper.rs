//! Keeping watch over the images of a user: writing back what processes left behind when they died, and from time to
//! time what living ones changed.
//!
//! A keeper has no map and takes part in nothing; nobody waits for it but for the length of one write-back.

use crate::image::shared::{self, Control, Dir};
use crate::image::{Image, PathHandle, Settled};
use crate::posix::Share;
use crate::sys::Errno;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What stands of an image's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Processes use it; all that others left is written back.
    InUse,
    /// It holds what no process is left to write back.
    LeftBehind,
    /// Everything is written back, and the image is gone.
    Settled,
    /// The file was changed by others since: nothing was overwritten.
    Conflict,
    /// The file is gone, or is not where it was when it was mapped.
    Gone,
    /// The file cannot be opened or written.
    Failed(Errno),
}

/// One image of the user's.
#[derive(Clone, Debug)]
pub struct Found {
    /// The file, by its name when it was mapped first.
    pub path: PathBuf,
    /// Bytes of the image.
    pub len: u64,
    /// Processes that have it now.
    pub processes: usize,
    /// How its changes stand.
    pub standing: Standing,
}

/// Looks after the images in one directory.
#[derive(Debug)]
pub struct Keeper {
    dir: Arc<Dir>,
    /// The files, looked up as soon as they are seen: they may be renamed before they have to be written. They are not kept from
    /// being executed.
    files: BTreeMap<String, PathHandle>,
}

impl Keeper {
    /// A keeper of the directory in which images are shared. Lines that no call can return go to `report`.
    ///
    /// # Errors
    /// `EACCES` when the directory is not this user's alone; what `open` and `mkdir` say.
    pub fn new(share: &Share, report: fn(&str)) -> Result<Keeper, Errno> {
        crate::report::through(report);
        let chosen = match share {
            Share::No => return Err(Errno::NOENT),
            Share::Default => None,
            Share::In(path) => Some(path.as_path()),
        };
        shared::Presence::clear_left();
        Ok(Keeper { dir: Arc::new(Dir::open(chosen)?), files: BTreeMap::new() })
    }

    /// Where the images lie.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Tells of every image and changes nothing.
    ///
    /// # Errors
    /// Those of reading the directory.
    pub fn list(&mut self) -> Result<Vec<Found>, Errno> {
        let names = shared::all(&self.dir)?;
        Ok(names.iter().filter_map(|name| self.look(name)).collect())
    }

    fn look(&self, name: &str) -> Option<Found> {
        let (mut control, shm) = Control::visit(&self.dir, name).ok()?;
        control.lock();
        let neighbours = control.neighbours();
        control.unlock();
        let path = control.header().map(|(_, path)| path).unwrap_or_default();
        let standing = match () {
            () if control.record().conflict => Standing::Conflict,
            () if neighbours.dead.iter().any(|(_, slot)| slot.owes) => Standing::LeftBehind,
            () if neighbours.live.is_empty() => Standing::Settled,
            () => Standing::InUse,
        };
        Some(Found { path, len: shm.len().unwrap_or(0), processes: neighbours.live.len(), standing })
    }

    /// Writes back what processes left behind, in the files that `chosen` wants; takes away the images that nobody has.
    /// `force`: also where others changed the file since.
    ///
    /// # Errors
    /// Those of reading the directory.
    pub fn settle(&mut self, chosen: &dyn Fn(&Path) -> bool, force: bool) -> Result<Vec<Found>, Errno> {
        let names = shared::all(&self.dir)?;
        self.files.retain(|name, _| names.contains(name));
        let mut all = Vec::new();
        for name in &names {
            let Some(before) = self.look(name) else {
                Control::clear_lone(&self.dir, name);
                continue;
            };
            if chosen(&before.path) {
                let standing = self.settle_one(name, &before, force);
                all.push(Found { standing, ..before });
            }
        }
        Ok(all)
    }

    fn settle_one(&mut self, name: &str, before: &Found, force: bool) -> Standing {
        if before.standing == Standing::Settled {
            self.take_away(name);
            return Standing::Settled;
        }
        if before.standing == Standing::InUse {
            let _ = self.look_up(name);
            return Standing::InUse;
        }
        let image = match self.open(name) {
            Ok(image) => image,
            Err(Errno::NOENT | Errno::STALE) => return self.settle_gone(name, before),
            Err(errno) => return Standing::Failed(errno),
        };
        match image.settle(force) {
            (0, Settled::All) => {
                self.take_away(name);
                Standing::Settled
            }
            (0, Settled::Conflict) if !name.contains('~') => {
                // Out of the way of whoever maps the file next.
                self.take_away(name);
                Standing::Conflict
            }
            (_, Settled::Conflict) => Standing::Conflict,
            (_, Settled::All) => Standing::InUse,
            (_, Settled::NotHere) => Standing::Failed(Errno::IO),
        }
    }

    /// A file that had no name any more when it was mapped, or has none now, took its content along.
    fn settle_gone(&mut self, name: &str, before: &Found) -> Standing {
        let unnamed = before.path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
        let unnamed = unnamed || self.files.get(name).is_some_and(PathHandle::is_gone);
        if unnamed && before.processes == 0 {
            self.discard(name);
            return Standing::Settled;
        }
        Standing::Gone
    }

    /// Writes back what living processes changed, so that those who read the file otherwise see it. Returns a line for
    /// each file that could not be written.
    ///
    /// # Errors
    /// Those of reading the directory.
    pub fn flush(&mut self) -> Result<Vec<String>, Errno> {
        let names = shared::all(&self.dir)?;
        let mut failed = Vec::new();
        for name in names.iter().filter(|name| !name.contains('~')) {
            let Ok(image) = self.open(name) else { continue };
            if let Err(error) = image.write_for_others() {
                failed.push(error.to_string());
            }
        }
        Ok(failed)
    }

    /// Throws an image away that nobody uses, with whatever it holds. Returns whether there was one.
    ///
    /// # Errors
    /// Those of reading the directory.
    pub fn discard_file(&mut self, chosen: &dyn Fn(&Path) -> bool) -> Result<Vec<Found>, Errno> {
        let mut all = Vec::new();
        for name in shared::all(&self.dir)? {
            let Some(found) = self.look(&name) else { continue };
            if chosen(&found.path) && found.processes == 0 && found.standing != Standing::Settled {
                self.discard(&name);
                all.push(found);
            }
        }
        Ok(all)
    }

    fn discard(&mut self, name: &str) {
        self.files.remove(name);
        if let Ok((control, _)) = Control::visit(&self.dir, name) {
            control.discard(&self.dir);
        }
    }

    /// Takes leave in the place of those who could not.
    fn take_away(&mut self, name: &str) {
        self.files.remove(name);
        if let Ok((control, _)) = Control::visit(&self.dir, name) {
            control.leave(&self.dir);
        }
    }

    /// Opens an image for as long as it takes.
    fn open(&mut self, name: &str) -> Result<Image, Errno> {
        self.look_up(name)?;
        Image::found(&self.dir, name, &self.files[name])
    }

    fn look_up(&mut self, name: &str) -> Result<(), Errno> {
        if !self.files.contains_key(name) {
            self.files.insert(name.to_owned(), Image::find_file(&self.dir, name)?);
        }
        Ok(())
    }
}
