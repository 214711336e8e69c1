//! `mapback doctor`: says in plain words what works here, what does not, and what to do about it.

mod mount;
mod path;
mod program;
mod report;
mod system;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::Access;

use crate::failure::Failure;
use crate::lookup;
use report::Section;

/// Looks at the system and, if given, at a path or a program.
///
/// The exit status is 1 if something stands in the way of serving maps.
pub fn doctor(target: Option<&OsStr>) -> Result<ExitCode, Failure> {
    let mut sections = vec![system::look()];
    if let Some(target) = target {
        let path = resolve(target)?;
        if is_program(&path) {
            sections.push(program::look(&path));
        }
        sections.push(path::look(&path)?);
    }
    let text: Vec<String> = sections.iter().map(Section::to_string).collect();
    anstream::print!("{}", text.join("\n"));
    Ok(ExitCode::from(u8::from(sections.iter().any(Section::has_obstacle))))
}

/// A path as it is; a mere name that is no file here is looked up as a program.
fn resolve(target: &OsStr) -> Result<PathBuf, Failure> {
    let path = Path::new(target);
    match path.symlink_metadata() {
        Ok(_) => Ok(path.to_owned()),
        Err(e) if path.components().count() > 1 => {
            Err(Failure::own(format!("cannot look at '{}': {e}", path.display())))
        }
        Err(_) => lookup::find(target).map_err(|_| {
            Failure::own(format!("'{}' is neither a file here nor a program in PATH", path.display()))
        }),
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}
