//! Finds the program as execvp(3) would, so that it can be looked at before it runs.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::failure::Failure;

/// What execvp(3) searches when PATH is unset.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The path of the file that `program` names.
pub fn find(program: &OsStr) -> Result<PathBuf, Failure> {
    let shown = program.to_string_lossy();
    if program.as_bytes().contains(&b'/') {
        return match runnable(Path::new(program)) {
            Found::Yes => Ok(PathBuf::from(program)),
            Found::Refused(why) => Err(Failure::not_executable(format!("cannot run '{shown}': {why}"))),
            Found::No(why) => Err(Failure::not_found(format!("cannot run '{shown}': {why}"))),
        };
    }
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut refused = None;
    for folder in env::split_paths(&path).filter(|_| !program.is_empty()) {
        // An empty entry of PATH is the working directory.
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let candidate = folder.join(program);
        match runnable(&candidate) {
            Found::Yes => return Ok(candidate),
            Found::Refused(why) => {
                refused.get_or_insert(format!("cannot run '{}': {why}", candidate.display()));
            }
            Found::No(_) => {}
        }
    }
    match refused {
        Some(message) => Err(Failure::not_executable(message)),
        None => Err(Failure::not_found(format!("cannot find '{shown}' in PATH"))),
    }
}

enum Found {
    Yes,
    Refused(String),
    No(String),
}

/// Whether exec would at least try this file.
fn runnable(path: &Path) -> Found {
    match path.metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Found::Refused(e.to_string()),
        Err(e) => Found::No(e.to_string()),
        Ok(meta) if meta.is_dir() => Found::Refused("it is a directory".to_owned()),
        Ok(_) => match rustix::fs::access(path, Access::EXEC_OK) {
            Ok(()) => Found::Yes,
            Err(e) => Found::Refused(format!("{e} (is it executable? try chmod +x)")),
        },
    }
}
