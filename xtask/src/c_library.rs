//! The C library as plain cargo builds it, put into a prefix. cargo-c lays its installations out in the same way, but
//! contains all of cargo, and takes long to compile.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::Message;

use crate::ctx::{Ctx, fresh};
use crate::run::{Cmd, Log};

/// The version of the library, which is that of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What cargo built of the package.
pub(crate) struct Parts {
    libraries: Vec<PathBuf>,
    /// Where the build script put what is installed beside the library.
    capi: PathBuf,
}

impl Parts {
    /// Reads cargo's messages.
    pub(crate) fn of(messages: &str) -> Result<Self> {
        let (mut libraries, mut capi) = (Vec::new(), None);
        for message in Message::parse_stream(messages.as_bytes()) {
            match message.context("cannot read cargo's messages")? {
                Message::CompilerArtifact(artifact) if artifact.target.name == "mapback_c" => {
                    libraries.extend(artifact.filenames.into_iter().map(Into::into));
                }
                Message::BuildScriptExecuted(script) if script.out_dir.join("capi").exists() => {
                    capi = Some(script.out_dir.join("capi").into());
                }
                _ => {}
            }
        }
        Ok(Self { libraries, capi: capi.context("the build script made nothing to install")? })
    }

    /// Copies the library that cargo calls `name` to `to`, below the prefix.
    pub(crate) fn install(&self, name: &str, to: &Path) -> Result<()> {
        let library = self.libraries.iter().find(|path| path.ends_with(name));
        copy(library.with_context(|| format!("cargo built no {name}"))?, to)
    }

    /// Makes `prefix` anew, with the headers and what pkg-config and CMake need.
    pub(crate) fn begin(&self, ctx: &Ctx, prefix: PathBuf, log: &Log) -> Result<PathBuf> {
        let prefix = fresh(prefix)?;
        copy(&ctx.root.join("crates/mapback-c/include/mapback.h"), &prefix.join("include/mapback.h"))?;
        copy(&self.capi.join("mapback.pc"), &prefix.join("lib/pkgconfig/mapback.pc"))?;
        for dir in ["include", "share"].map(|dir| self.capi.join(dir)).iter().filter(|dir| dir.exists()) {
            Cmd::new("cp").arg("-r").arg(dir).arg(&prefix).run_ok(log)?;
        }
        Ok(prefix)
    }
}

/// A project that finds the library by CMake: configured, built, and its tests run, with both kinds of library.
pub(crate) fn cmake(ctx: &Ctx, user: &CmakeUser, log: &Log) -> Result<String> {
    let dir = ctx.fresh_dir("cmake")?;
    let define = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        let mut define = std::ffi::OsString::from(format!("-D{name}="));
        define.push(value);
        define
    };
    (user.with)(Cmd::new("cmake"))
        .arg("-S")
        .arg(ctx.root.join("xtask/programs/cmake"))
        .arg("-B")
        .arg(&dir)
        .arg(define("CMAKE_PREFIX_PATH", &user.prefix))
        .arg(define("VERSION", &VERSION))
        .arg(define("SOURCE", &user.source))
        .arg(define("ARGUMENTS", &user.arguments))
        .args(user.defines)
        .run_ok(log)?;
    (user.with)(Cmd::new("cmake")).arg("--build").arg(&dir).run_ok(log)?;
    (user.with)(Cmd::new("ctest")).args(["--output-on-failure", "--test-dir"]).arg(&dir).run_ok(log)?;
    Ok("linked with either library".into())
}

/// What differs between the systems.
pub(crate) struct CmakeUser<'a> {
    pub(crate) prefix: &'a Path,
    pub(crate) source: PathBuf,
    pub(crate) arguments: &'a str,
    pub(crate) defines: &'a [&'a str],
    pub(crate) with: &'a dyn Fn(Cmd) -> Cmd,
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    to.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::copy(from, to).map(drop))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
