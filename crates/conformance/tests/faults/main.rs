//! P25 and P31 on storage that fails: what becomes of changes that cannot be written back.
//!
//! The files are on testkit's direct_io mount, of which the kernel makes no shared maps; so these tests always run
//! under `mapback run --maps auto`, by themselves. The kernel's own answers to a full disk come at other moments
//! (SIGBUS at the store), so there is nothing to compare with.

mod economy;
mod end;
mod sync;

use std::path::{Path, PathBuf};

use mapback_conformance::TestFile;
use mapback_conformance::process::scratch;
use mapback_testkit::DirectIoMount;

/// A file on a direct_io mount whose writes can be made to fail.
struct Faulty {
    mount: DirectIoMount,
}

impl Faulty {
    fn new() -> Faulty {
        let source = source(&scratch());
        std::fs::create_dir(&source).expect("the directory that the mount shows");
        Faulty { mount: DirectIoMount::new(&source).expect("a direct_io mount") }
    }

    /// A new file of `content` on the mount.
    fn file(&self, name: &str, content: &[u8]) -> TestFile {
        TestFile::at(&self.mount.path().join(name), content)
    }

    /// From now on writes fail, after `after` bytes more.
    fn fail(&self, errno: &str, after: usize) {
        let fault = format!("{errno}:after={after}").parse().expect("a fault that testkit knows");
        self.mount.fail_writes(fault).expect("the mount's server");
    }

    /// Bytes that were written to the mount so far.
    fn written(&self) -> u64 {
        self.mount.totals().expect("the mount's server").bytes
    }

    fn heal(&self) {
        self.mount.heal_writes().expect("the mount's server");
    }
}

/// What the mount shows, where the harness's process finds the files afterwards.
fn source(scratch: &Path) -> PathBuf {
    scratch.join("source")
}
