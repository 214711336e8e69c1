//! What `mapback run` will do with the files of a path. Not guessed from the file system's name: tried.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use mapback::probe;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::mount::{self, Mount};
use super::report::{Section, Verdict};
use crate::failure::Failure;

/// The errors by which a file system says that it has no shared maps: those that `--maps auto` acts upon.
const REFUSALS: [Errno; 4] = [Errno::NODEV, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS];
/// How many files of a folder to try.
const MAX_TRIES: usize = 64;

/// File systems whose files are memory already: a copy would cost and give nothing.
const MEMORY: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];

/// Looks at one file or folder.
pub fn look(path: &Path) -> Result<Section, Failure> {
    let cannot = |e: io::Error| Failure::own(format!("cannot look at '{}': {e}", path.display()));
    let meta = path.metadata().map_err(cannot)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| cannot(e.into()))?;
    let mut section = Section::new(format!("Path {}", path.display()));
    let mount = mount::of(&handle);
    if let Some(Mount { point, kind, source }) = &mount {
        section.add(Verdict::Note, format!("on {kind} ({source}, mounted at {point})"));
    }
    if !meta.is_file() && !meta.is_dir() {
        section.add(Verdict::Note, "not a regular file: its maps always go to the kernel");
    } else if !probe::is_served(handle.as_fd()) {
        let in_memory = mount.is_some_and(|mount| MEMORY.contains(&mount.kind.as_str()));
        section.add(Verdict::Note, if in_memory {
            "files here are memory already: their maps go to the kernel, except with --maps all --include-tmpfs"
        } else {
            "files here are no stored bytes: their maps always go to the kernel"
        });
    } else {
        judge(&mut section, if meta.is_dir() { try_folder(path) } else { try_file(path) });
    }
    Ok(section)
}

/// What trying brought.
#[derive(Debug)]
enum Tried {
    /// A map was made, writable or not.
    Mapped { writable: bool },
    /// mmap said no.
    Refused { writable: bool, error: Errno },
    /// There was no file to try it with.
    NoFile(io::Error),
}

/// Tells what was seen and what it means for each way of running.
fn judge(section: &mut Section, tried: Tried) {
    let kind = |writable| if writable { "a writable shared map" } else { "a read-only shared map" };
    match tried {
        Tried::Mapped { writable } => {
            section.add(Verdict::Yes, format!("the kernel grants {}", kind(writable)));
            if !writable {
                section.add(
                    Verdict::Note,
                    "it may not be written to from here, so a writable map was not tried",
                );
            }
            section.add(
                Verdict::Note,
                "`mapback run` leaves such maps to the kernel; with --maps all it serves them",
            );
        }
        Tried::Refused { writable, error } if REFUSALS.contains(&error) => {
            section.add(Verdict::No, format!("the file system refuses {}: {error}", kind(writable)));
            section.add(Verdict::Yes, "`mapback run -- PROGRAM` serves such maps");
        }
        Tried::Refused { writable, error } => section.advise(
            Verdict::Obstacle,
            format!("{} fails: {error}", kind(writable)),
            "`--maps auto` passes this error on; try `mapback run --maps all -- PROGRAM`",
        ),
        Tried::NoFile(error) => section.advise(
            Verdict::Note,
            format!("whether shared maps work could not be tried: {error}"),
            "name a file that you may read, or run this as a user who may write here",
        ),
    }
}

/// Tries an existing file, writable if it may be written to. Nothing is written.
fn try_file(path: &Path) -> Tried {
    if let Ok(file) = OpenOptions::new().read(true).write(true).open(path) {
        return try_map(&file, true);
    }
    match File::open(path) {
        Ok(file) => try_map(&file, false),
        Err(error) => Tried::NoFile(error),
    }
}

/// Tries a new file without a name; where none may be made, a file that is there.
fn try_folder(folder: &Path) -> Tried {
    let made = tempfile::tempfile_in(folder).and_then(|file| file.set_len(1).map(|()| file));
    let error = match made {
        Ok(file) => return try_map(&file, true),
        Err(error) => error,
    };
    let files = fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_TRIES);
    let files = files.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files
        .map(|entry| try_file(&entry.path()))
        .find(|tried| !matches!(tried, Tried::NoFile(_)))
        .unwrap_or(Tried::NoFile(error))
}

fn try_map(file: &File, writable: bool) -> Tried {
    let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
    let length = rustix::param::page_size();
    // SAFETY: a new map wherever the kernel likes; its memory is never touched.
    match unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, prot, MapFlags::SHARED, file, 0) } {
        Ok(address) => {
            // SAFETY: the map was made above and nothing refers to its memory.
            let _ = unsafe { rustix::mm::munmap(address, length) };
            Tried::Mapped { writable }
        }
        Err(error) => Tried::Refused { writable, error },
    }
}
