//! Where the interposer is: named by the user, beside the program, or unpacked from inside it.

mod unpack;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use object::Object;
use tempfile::TempDir;

use crate::failure::Failure;

/// The interposer's file name.
pub const NAME: &str = "libmapback_preload.so";

/// Content and stamp of the library that build.rs built; a documentation build has none.
const EMBEDDED: Option<(&[u8], &str)> = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The interposer in a file, for as long as this lives.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    /// Removed, file and all, when the program has ended.
    folder: Option<TempDir>,
}

impl Library {
    /// The file to preload.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file goes away with this value, so that somebody has to stay until the program has ended.
    pub fn is_temporary(&self) -> bool {
        self.folder.is_some()
    }
}

/// Finds the interposer, or unpacks it.
pub fn locate() -> Result<Library, Failure> {
    if let Some(path) = env::var_os("MAPBACK_PRELOAD").filter(|path| !path.is_empty()) {
        return named(path);
    }
    let Some((content, stamp)) = EMBEDDED else {
        return Err(Failure::own(format!(
            "this mapback was built without the interposer: build it again without DOCS_RS, or set MAPBACK_PRELOAD to \
             the path of {NAME}"
        )));
    };
    if let Some(path) = beside(content) {
        return Ok(Library { path, folder: None });
    }
    let file = format!("libmapback_preload-{stamp}.so");
    let mut refused = Vec::new();
    for base in unpack::places() {
        match unpack::into(&base, &file, content) {
            Ok(path) => return Ok(Library { path, folder: None }),
            Err(why) => refused.push(why),
        }
    }
    unpack::into_temporary(&file, content).map(|(folder, path)| Library { path, folder: Some(folder) }).map_err(|why| {
        refused.push(why);
        Failure::own(format!(
            "found no safe place to unpack the interposer to: {}; put {NAME} beside mapback, or set MAPBACK_PRELOAD",
            refused.join("; ")
        ))
    })
}

/// The library that the user named.
fn named(path: OsString) -> Result<Library, Failure> {
    let bad = |why: String| Failure::own(format!("MAPBACK_PRELOAD={}: {why}", Path::new(&path).display()));
    let full = std::path::absolute(&path).map_err(|e| bad(e.to_string()))?;
    let content = fs::read(&full).map_err(|e| bad(e.to_string()))?;
    object::File::parse(&*content).map_err(|_| bad("not a shared library".to_owned()))?;
    unpack::preloadable(&full).map_err(|why| bad(format!("{why}; move it elsewhere")))?;
    Ok(Library { path: full, folder: None })
}

/// A library of this same build, installed with the program.
fn beside(content: &[u8]) -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let folder = program.parent()?;
    [folder.join(NAME), folder.join("../lib/mapback").join(NAME)].into_iter().find_map(|path| {
        let path = path.canonicalize().ok()?;
        let other = fs::read(&path).ok()?;
        (same_build(content, &other) && unpack::preloadable(&path).is_ok()).then_some(path)
    })
}

/// Whether two files are one build: the same bytes, or the same build id (which outlives stripping).
fn same_build(one: &[u8], other: &[u8]) -> bool {
    fn id(content: &[u8]) -> Option<Vec<u8>> {
        object::File::parse(content).ok()?.build_id().ok()?.map(<[u8]>::to_vec)
    }
    one == other || id(one).is_some_and(|one| id(other) == Some(one))
}
