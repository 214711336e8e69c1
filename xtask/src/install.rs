//! What only the tests need: Debian packages, installed when we may, and otherwise named.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::ctx::Ctx;
use crate::run::{Cmd, Log};

/// Something that a stage needs before it can run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A Debian package, and a file by which one sees that it is there.
    Package(&'static str, &'static str),
    /// The workspace's programs in release mode.
    Programs,
    /// fsx, from crates.io.
    Fsx,
    /// cargo-c, from crates.io.
    CargoC,
    /// py-lmdb with its tests, and pytest, from PyPI.
    PyLmdb,
}

impl Need {
    pub(crate) const CC: Self = Self::Package("gcc", "/usr/bin/cc");
    pub(crate) const LIBC: Self = Self::Package("libc6-dev", "/usr/include/stdio.h");
    pub(crate) const FUSE: Self = Self::Package("fuse3", "/usr/bin/fusermount3");
    pub(crate) const BINDFS: Self = Self::Package("bindfs", "/usr/bin/bindfs");
    pub(crate) const AUTOCONF: Self = Self::Package("autoconf", "/usr/bin/autoconf");
    pub(crate) const PKG_CONFIG: Self = Self::Package("pkgconf", "/usr/bin/pkg-config");
    pub(crate) const CMAKE: Self = Self::Package("cmake", "/usr/bin/cmake");
    pub(crate) const MAKE: Self = Self::Package("make", "/usr/bin/make");
    pub(crate) const SSL: Self = Self::Package("libssl-dev", "/usr/include/openssl/ssl.h");
    pub(crate) const RUSTC: Self = Self::Package("rustc-web", "/usr/bin/rustc");
    pub(crate) const CARGO: Self = Self::Package("cargo-web", "/usr/bin/cargo");
    pub(crate) const RUST_SOURCES: Self =
        Self::Package("rust-web-src", "/usr/lib/rustlib/src/rust/library/std/Cargo.toml");
    pub(crate) const MINGW: Self = Self::Package("gcc-mingw-w64-x86-64", "/usr/bin/x86_64-w64-mingw32-gcc");
    pub(crate) const WINE: Self = Self::Package("wine64", "/usr/lib/wine/wine64");
    pub(crate) const PYTHON: Self = Self::Package("python3.11", "/usr/bin/python3.11");
    pub(crate) const VENV: Self =
        Self::Package("python3.11-venv", "/usr/lib/python3.11/ensurepip/__init__.py");
    pub(crate) const PYTHON_TESTS: Self =
        Self::Package("libpython3.11-testsuite", "/usr/lib/python3.11/test/test_mmap.py");
}

/// Installs the packages that are missing. Who may not install gets told what to run.
pub(crate) fn packages(ctx: &Ctx, needs: &[Need], log: &Log) -> Result<String> {
    let packages = needs.iter().filter_map(|need| match need {
        Need::Package(name, file) => Some((*name, *file)),
        _ => None,
    });
    let missing: Vec<_> =
        packages.clone().filter(|(_, file)| !Path::new(file).exists()).map(|(name, _)| name).collect();
    if missing.is_empty() {
        return Ok(format!("{} packages are there", packages.count()));
    }
    let list = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!(
            "missing: {list}. Run\n    sudo apt-get update && sudo apt-get install {list}\n  and try again"
        );
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("missing: {list} (by their Debian names), and there is no apt-get to install them with");
    }
    ctx.ui.say(format!("         apt-get install {list}"));
    let apt = || Cmd::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").limit(Duration::from_secs(900));
    apt().arg("update").run_ok(log)?;
    apt().args(["install", "--yes", "--no-install-recommends"]).args(&missing).run_ok(log)?;
    let still: Vec<_> = packages.filter(|(_, file)| !Path::new(file).exists()).collect();
    if let Some((name, file)) = still.first() {
        bail!("apt-get installed {name}, but there is no {file}");
    }
    Ok(format!("installed {list}"))
}
