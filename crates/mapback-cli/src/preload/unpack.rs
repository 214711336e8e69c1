//! Unpacks the embedded interposer where nobody else can have laid, or can lay, another file in its stead.
//!
//! Whoever can change that file or swap a folder above it runs code in the program. So the folder is ours alone (0700),
//! every folder above it belongs to us or to the system, everything is opened relative to the folder's handle without
//! following links, and a file that is already there is believed only if it is ours and equal byte for byte.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use tempfile::TempDir;

/// The folder of ours in each place.
const FOLDER: &str = "mapback";

/// The places to try, best first: the user's cache, the session's run-time folder.
pub fn places() -> Vec<PathBuf> {
    let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
    cache.into_iter().chain(var("XDG_RUNTIME_DIR")).collect()
}

/// Unpacks to `BASE/mapback/FILE`, or finds it there from an earlier run.
pub fn into(base: &Path, file: &str, content: &[u8]) -> Result<PathBuf, String> {
    into_as(us(), base, file, content)
}

/// The user that the program runs as.
fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn into_as(us: u32, base: &Path, file: &str, content: &[u8]) -> Result<PathBuf, String> {
    let at = |e: std::io::Error| format!("{}: {e}", base.display());
    DirBuilder::new().recursive(true).mode(0o700).create(base).map_err(at)?;
    let base = base.canonicalize().map_err(at)?;
    trusted(us, &base, false)?;

    let path = base.join(FOLDER);
    let at = |e: Errno| format!("{}: {e}", path.display());
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let base = rustix::fs::openat(CWD, &base, flags | OFlags::PATH, Mode::empty()).map_err(at)?;
    match rustix::fs::mkdirat(&base, FOLDER, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(at(e)),
    }
    let folder = rustix::fs::openat(&base, FOLDER, flags, Mode::empty()).map_err(at)?;
    private(us, &folder).map_err(|why| format!("{}: {why}", path.display()))?;
    place(us, &folder, &path, file, content)
}

/// Unpacks to a folder with a random name, which goes away with the value returned.
pub fn into_temporary(file: &str, content: &[u8]) -> Result<(TempDir, PathBuf), String> {
    let base = std::env::temp_dir();
    let at = |e: std::io::Error| format!("{}: {e}", base.display());
    let base = base.canonicalize().map_err(at)?;
    trusted(us(), &base, true)?;
    let made = tempfile::Builder::new()
        .prefix("mapback-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&base);
    let made = made.map_err(at)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let at = |e: Errno| format!("{}: {e}", made.path().display());
    let folder = rustix::fs::openat(CWD, made.path(), flags, Mode::empty()).map_err(at)?;
    private(us(), &folder).map_err(|why| format!("{}: {why}", made.path().display()))?;
    let path = place(us(), &folder, made.path(), file, content)?;
    Ok((made, path))
}

/// Whether the dynamic linker takes this path from LD_PRELOAD, and may run code from it.
pub fn preloadable(path: &Path) -> Result<(), String> {
    if path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b' ' | b':' | b'$' | b'\n')) {
        return Err(format!(
            "{}: a path in LD_PRELOAD cannot have a space, a colon or a dollar sign",
            path.display()
        ));
    }
    match rustix::fs::statvfs(path) {
        Ok(stat) if stat.f_flag.contains(StatVfsMountFlags::NOEXEC) => {
            Err(format!("{}: on a file system that is mounted noexec", path.display()))
        }
        Ok(_) => Ok(()),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

/// Whether nobody but us and the system can swap `path` or a folder above it. `sticky`: `path` itself may be a folder
/// like /tmp, where everybody may write but nobody can touch what is another's.
fn trusted(us: u32, path: &Path, sticky: bool) -> Result<(), String> {
    preloadable(path)?;
    // Whoever owns the root folder is the system: root, or in a user namespace what root looks like there.
    let system = Path::new("/").symlink_metadata().map_err(|e| format!("/: {e}"))?.uid();
    for folder in path.ancestors() {
        let meta = folder.symlink_metadata().map_err(|e| format!("{}: {e}", folder.display()))?;
        let is_sticky = meta.mode() & 0o1000 != 0 && (sticky || folder != path);
        if ![us, 0, system].contains(&meta.uid()) {
            return Err(format!("{}: belongs to another user", folder.display()));
        }
        if meta.mode() & 0o022 != 0 && !is_sticky {
            return Err(format!("{}: others can write to it", folder.display()));
        }
    }
    Ok(())
}

/// Whether an open folder is ours alone.
fn private(us: u32, folder: &OwnedFd) -> Result<(), String> {
    let stat = rustix::fs::fstat(folder).map_err(|e| e.to_string())?;
    match (stat.st_uid == us, stat.st_mode & 0o7777) {
        (false, _) => Err("belongs to another user".to_owned()),
        (true, 0o700) => Ok(()),
        (true, mode) => Err(format!("has mode {mode:04o}, not 0700")),
    }
}

/// Puts the file into the open folder, unless it is there already.
fn place(us: u32, folder: &OwnedFd, path: &Path, file: &str, content: &[u8]) -> Result<PathBuf, String> {
    let full = path.join(file);
    if is_there(us, folder, file, content) {
        return Ok(full);
    }
    let at = |e: std::io::Error| format!("{}: {e}", full.display());
    let (mut target, name) = new_file(folder, file).map_err(at)?;
    let written = target
        .write_all(content)
        .and_then(|()| Ok(rustix::fs::fchmod(&target, Mode::RUSR)?))
        .and_then(|()| Ok(rustix::fs::renameat(folder, &name, folder, file)?));
    if let Err(e) = written {
        let _ = rustix::fs::unlinkat(folder, &name, AtFlags::empty());
        return Err(at(e));
    }
    Ok(full)
}

/// Whether the file is there, ours alone, and equal. Anything else gets replaced, never opened for writing.
fn is_there(us: u32, folder: &OwnedFd, file: &str, content: &[u8]) -> bool {
    // NONBLOCK: a FIFO in the file's place must not hang us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(handle) = rustix::fs::openat(folder, file, flags, Mode::empty()) else { return false };
    let Ok(stat) = rustix::fs::fstat(&handle) else { return false };
    let ours = stat.st_uid == us
        && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_mode & 0o7777 == 0o400
        && stat.st_nlink == 1
        && stat.st_size == content.len() as i64;
    let mut found = Vec::with_capacity(content.len());
    ours && File::from(handle).read_to_end(&mut found).is_ok() && found == content
}

/// A new file beside the final one, of a name that nothing else has.
fn new_file(folder: impl AsFd, file: &str) -> std::io::Result<(File, String)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut error = Errno::EXIST;
    for attempt in 0..64 {
        let name = format!(".{file}.{}.{attempt}", std::process::id());
        match rustix::fs::openat(&folder, OsStr::new(&name), flags, Mode::RUSR | Mode::WUSR) {
            Ok(handle) => return Ok((File::from(handle), name)),
            Err(e) if e == Errno::EXIST => error = e,
            Err(e) => return Err(e.into()),
        }
    }
    Err(error.into())
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
