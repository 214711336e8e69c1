//! Python programs: our own, and py-lmdb with its test suite from PyPI.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::ctx::{Ctx, fresh};
use crate::run::{Cmd, Log};

/// Debian's interpreter by its full path: another one in PATH may lack what Debian's has.
pub(crate) const PYTHON: &str = "/usr/bin/python3.11";

/// The binding of LMDB, which brings LMDB itself, and what runs its tests: the newest releases.
const LMDB: &str = "3.0.0";
const PYTEST: &str = "9.2.0";

/// Where our programs are.
pub(crate) fn programs(ctx: &Ctx) -> PathBuf {
    ctx.root.join("xtask/programs")
}

/// The environment in which py-lmdb is installed.
pub(crate) struct Lmdb {
    root: PathBuf,
}

impl Lmdb {
    pub(crate) fn new(ctx: &Ctx) -> Self {
        Self { root: ctx.tools().join(format!("lmdb-{LMDB}-pytest-{PYTEST}")) }
    }

    /// The interpreter that finds py-lmdb and pytest.
    pub(crate) fn python(&self) -> PathBuf {
        self.root.join("bin/python")
    }

    /// The directory with py-lmdb's tests, and without its sources, which would be imported instead of what is installed.
    pub(crate) fn suite(&self) -> PathBuf {
        self.root.join("suite")
    }

    /// The file by which one sees that the installation went to its end.
    fn seal(&self) -> PathBuf {
        self.root.join("complete")
    }
}

/// Installs py-lmdb and unpacks its tests below the target directory, unless those versions are there.
pub(crate) fn install_lmdb(ctx: &Ctx, log: &Log) -> Result<String> {
    let lmdb = Lmdb::new(ctx);
    if !lmdb.seal().exists() {
        fresh(lmdb.root.clone())?;
        slow(PYTHON).args(["-m", "venv"]).arg(&lmdb.root).run_ok(log)?;
        let packages = [format!("lmdb=={LMDB}"), format!("pytest=={PYTEST}")];
        pip(&lmdb, &["install", "--only-binary", ":all:"]).args(packages).run_ok(log)?;
        unpack_suite(&lmdb, log)?;
        slow("touch").arg(lmdb.seal()).run_ok(log)?;
    }
    Ok(format!("lmdb {LMDB}, pytest {PYTEST}"))
}

/// The tests come with the sources only.
fn unpack_suite(lmdb: &Lmdb, log: &Log) -> Result<()> {
    let sources = lmdb.root.join("sources");
    let package = format!("lmdb=={LMDB}");
    pip(lmdb, &["download", "--no-deps", "--no-binary", "lmdb", &package, "--dest"])
        .arg(&sources)
        .run_ok(log)?;
    fresh(lmdb.suite())?;
    let inside = ["tests", "pyproject.toml"].map(|name| format!("lmdb-{LMDB}/{name}"));
    slow("tar")
        .args(["--extract", "--strip-components", "1", "--directory"])
        .arg(lmdb.suite())
        .arg("--file")
        .arg(sources.join(format!("lmdb-{LMDB}.tar.gz")))
        .args(inside)
        .run_ok(log)?;
    Ok(())
}

fn pip(lmdb: &Lmdb, words: &[&str]) -> Cmd {
    slow(lmdb.python()).args(["-m", "pip", "--disable-pip-version-check", "--no-input"]).args(words)
}

/// Allowed the time that a download takes.
fn slow(program: impl AsRef<Path>) -> Cmd {
    Cmd::new(program.as_ref()).limit(Duration::from_secs(600))
}
