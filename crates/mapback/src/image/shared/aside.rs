//! What could not be written back is kept under another name, `NAME~N`, where `recover` finds it.
//!
//! The control block comes first and the memory second, so that whoever dies over it leaves no memory that is not told of.
//! Its lock `ATTACH` is held meanwhile: a keeper would take away what looks as if nobody needed it.

use super::{ATTACH, Control, HEADER, ctl, img, lost};
use super::{Dir, Record, Slot, Stage};
use crate::sys::Errno;
use crate::sys::os::{file, ofd, shm::Shm};
use rustix::fd::AsFd;
use std::path::PathBuf;

/// How many names are tried.
const TRIES: u64 = 100_000;

impl Control {
    /// Keeps a copy of the memory. Returns where.
    ///
    /// # Errors
    /// `ENOSPC` and the like.
    pub(crate) fn set_aside(&self, dir: &Dir, shm: &Shm) -> Result<PathBuf, Errno> {
        let mut kept = self.begin_aside(dir)?;
        let copied = dir.file(&img(&kept.name), true).and_then(|memory| copy(shm, &Shm::of(memory)));
        let done = copied.and_then(|()| kept.write(self.as_conflict()));
        if done.is_err() {
            dir.remove(&img(&kept.name));
            dir.remove(&ctl(&kept.name));
        }
        ofd::unlock(kept.file.as_fd(), ATTACH);
        done.map(|()| dir.path().join(img(&kept.name)))
    }

    /// Gives the memory, which nobody has any more, and the control block another name; the caller has `ATTACH` and `IO`.
    ///
    /// # Errors
    /// `ENOSPC` and the like: all is as it was.
    pub(super) fn move_aside(&self, dir: &Dir) -> Result<(), Errno> {
        let mut kept = self.begin_aside(dir)?;
        let told = kept.write(self.as_conflict());
        let moved = told.and_then(|()| dir.rename(&img(&self.name), &img(&kept.name)));
        dir.remove(&ctl(if moved.is_ok() { &self.name } else { &kept.name }));
        ofd::unlock(kept.file.as_fd(), ATTACH);
        moved
    }

    /// Whether there is a memory of which the control block does not tell any more.
    pub(crate) fn is_damaged(&self, dir: &Dir) -> bool {
        self.read_record().is_none()
            && dir
                .file(&img(&self.name), false)
                .and_then(|memory| file::facts(memory.as_fd()))
                .is_ok_and(|f| f.len > 0)
    }

    /// Keeps a memory for the user to look at. It may hold what is in no file, and nobody knows of which; the caller has
    /// `ATTACH`.
    pub(super) fn give_up(&self, dir: &Dir) -> Result<(), Errno> {
        let to = lost(&spare_name(dir, &self.name));
        dir.rename(&img(&self.name), &to)?;
        crate::report::line(&format!(
            "a control block of mapback's is damaged or missing{}; the content of the image is kept in {}",
            self.header()
                .map_or(String::new(), |(_, path)| format!(", it may be that of {}", path.display())),
            dir.path().join(&to).display()
        ));
        Ok(())
    }

    fn as_conflict(&self) -> Record {
        let record = self.read_record().unwrap_or(self.record);
        Record { stage: Stage::Ready, busy: false, conflict: true, ..record }
    }

    /// A control block of a name that nothing has, with this one's header and `ATTACH` held.
    fn begin_aside(&self, dir: &Dir) -> Result<Control, Errno> {
        for _ in 0..TRIES {
            let name = spare_name(dir, &self.name);
            let file = dir.file(&ctl(&name), true)?;
            ofd::lock(file.as_fd(), ATTACH)?;
            let ours = dir.names(&ctl(&name), file.as_fd()) && file::facts(file.as_fd())?.len == 0;
            if !ours {
                continue;
            }
            let mut kept =
                Control { file, name, slot: None, record: Record::default(), own: Slot::default() };
            // Nothing yet: what is left of it, should we die, nobody needs.
            kept.write(Record::default())?;
            kept.put(&self.get(HEADER)?, HEADER.start)?;
            return Ok(kept);
        }
        Err(Errno::AGAIN)
    }
}

/// Copies what a memory holds.
fn copy(from: &Shm, to: &Shm) -> Result<(), Errno> {
    let len = from.len()?;
    to.resize(len)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while let Some(data) = from.data(at, len) {
        at = data.start;
        while at < data.end {
            let most = (data.end - at).min(buffer.len() as u64) as usize;
            let n = from.read(&mut buffer[..most], at)?;
            if n == 0 {
                return Err(Errno::IO);
            }
            // SAFETY: a slice.
            file::with_file_size(at + n as u64, || unsafe { to.write(buffer.as_ptr(), n, at) })?;
            at += n as u64;
        }
    }
    Ok(())
}

/// A name of which nothing is there.
pub(super) fn spare_name(dir: &Dir, name: &str) -> String {
    let base = name.split('~').next().unwrap_or(name);
    (1u64..)
        .map(|n| format!("{base}~{n}"))
        .find(|name| [ctl(name), img(name), lost(name)].iter().all(|name| dir.is_free(name)))
        .expect("some number is free")
}

/// The files in a directory that are memories without a control block: nobody knows what they are. Their bytes.
///
/// # Errors
/// Those of reading a directory.
pub(crate) fn strays(dir: &Dir) -> Result<Vec<(String, u64)>, Errno> {
    // A memory is made after its control block, and taken away before.
    let alone =
        |name: &String| dir.is_free(&ctl(name)) && !dir.is_free(&img(name)) && dir.is_free(&ctl(name));
    let images = dir.list(".img")?.into_iter().filter(alone).map(|name| img(&name));
    let lost = dir.list(".lost")?.into_iter().map(|name| lost(&name));
    let with_len = |name: String| {
        let len =
            dir.file(&name, false).and_then(|file| file::facts(file.as_fd())).map_or(0, |facts| facts.len);
        (name, len)
    };
    Ok(images.chain(lost).map(with_len).collect())
}

/// Throws away what [`strays`] named.
pub(crate) fn discard_stray(dir: &Dir, file: &str) {
    let Some(name) = file.strip_suffix(".img") else { return dir.remove(file) };
    // With a control block nobody can come meanwhile.
    if let Ok(file) = dir.file(&ctl(name), true) {
        let (name, record, own) = (name.to_owned(), Record::default(), Slot::default());
        Control { file, name, slot: None, record, own }.discard(dir);
    }
}
