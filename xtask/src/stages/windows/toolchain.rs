//! Debian's own Rust, which has the sources of std, and mingw: builds for targets that rustup's toolchain lacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;

use super::wine::Wine;
use crate::ctx::Ctx;
use crate::run::{Cmd, Log};

/// The target of mingw.
pub(super) const GNU: &str = "x86_64-pc-windows-gnu";
pub(super) const CC: &str = "x86_64-w64-mingw32-gcc";

pub(super) struct Toolchain<'c> {
    ctx: &'c Ctx,
    target: PathBuf,
}

/// The C library for Windows.
pub(super) struct Built {
    /// Where `mapback.dll` and its import library `libmapback.dll.a` are.
    pub(super) shared: PathBuf,
    /// Where `libmapback.a` is.
    pub(super) fixed: PathBuf,
    /// Where the headers are: what all systems have, and what Windows has besides.
    pub(super) include: [PathBuf; 2],
}

impl<'c> Toolchain<'c> {
    pub(super) fn new(ctx: &'c Ctx) -> Self {
        Self { ctx, target: ctx.target.join("windows") }
    }

    /// Debian's cargo. It builds std as well, once, into a target directory of its own.
    fn cargo(&self, command: &str, target: &str) -> Cmd {
        Cmd::new("/usr/bin/cargo")
            .arg(command)
            .args(["-Z", "build-std=std,panic_abort", "--target", target])
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", &self.target)
            .cwd(&self.ctx.root)
            .limit(Duration::from_secs(20 * 60))
    }

    /// Checks what other systems get.
    pub(super) fn check(&self, target: &str, log: &Log) -> Result<String> {
        // Systems without a back end have no C library yet.
        let served = target.contains("windows") || target.contains("linux");
        let packages: &[&str] =
            if served { &["-p", "mapback", "-p", "mapback-c"] } else { &["-p", "mapback"] };
        let done = self.cargo("check", target).args(packages).run_ok(log)?;
        ensure!(
            !done.output.contains("\nwarning: "),
            "it compiles with warnings:\n{}",
            crate::run::tail(&done.output)
        );
        Ok(packages.iter().filter(|word| **word != "-p").copied().collect::<Vec<_>>().join(", "))
    }

    /// A test program of a package, by name.
    pub(super) fn test_program(&self, package: &str, name: &str, log: &Log) -> Result<PathBuf> {
        let which: &[&str] = if name == package { &["--lib"] } else { &["--test", name] };
        let done = self
            .cargo("test", GNU)
            .args(["--no-run", "--message-format=json", "--no-default-features", "--package", package])
            .args(which)
            .stdout_apart()
            .run_ok(log)?;
        for message in Message::parse_stream(done.stdout.as_bytes()) {
            if let Message::CompilerArtifact(artifact) = message.context("cannot read cargo's messages")?
                && artifact.profile.test
                && artifact.target.name == name
                && let Some(executable) = artifact.executable
            {
                return Ok(executable.into_std_path_buf());
            }
        }
        bail!("cargo built no test program {name} of the package {package}");
    }

    /// Builds the C library, under the names that an installation gives it.
    pub(super) fn library(&self, wine: &Wine, log: &Log) -> Result<Built> {
        self.cargo("build", GNU).args(["--release", "-p", "mapback-c"]).run_ok(log)?;
        let from = self.target.join(GNU).join("release");
        let built = Built {
            shared: crate::ctx::fresh(self.target.join("shared"))?,
            fixed: crate::ctx::fresh(self.target.join("static"))?,
            include: ["include", "include/windows"]
                .map(|dir| self.ctx.root.join("crates/mapback-c").join(dir)),
        };
        copy(&from.join("mapback_c.dll"), &built.shared.join("mapback.dll"))?;
        copy(&from.join("libmapback_c.a"), &built.fixed.join("libmapback.a"))?;
        copy(&wine.shim(log)?, &built.shared.join("bcryptprimitives.dll"))?;
        let def = built.shared.join("mapback.def");
        let exports = exports(&built.shared.join("mapback.dll"), log)?;
        fs::write(&def, format!("EXPORTS\n{}\n", exports.join("\n")))
            .with_context(|| format!("cannot write {}", def.display()))?;
        Cmd::new("x86_64-w64-mingw32-dlltool")
            .args(["-D", "mapback.dll", "-d"])
            .arg(&def)
            .arg("-l")
            .arg(built.shared.join("libmapback.dll.a"))
            .run_ok(log)?;
        Ok(built)
    }
}

impl Built {
    pub(super) fn note(&self) -> String {
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |m| m.len() >> 10);
        format!(
            "{} KiB and {} KiB",
            size(self.shared.join("mapback.dll")),
            size(self.fixed.join("libmapback.a"))
        )
    }

    /// The compiler's flags by which it finds the headers.
    pub(super) fn flags(&self) -> [String; 2] {
        self.include.each_ref().map(|dir| format!("-I{}", dir.display()))
    }

    /// Compiles a C program against the DLL, beside which it is put.
    pub(super) fn compile(&self, source: &Path, name: &str, log: &Log) -> Result<PathBuf> {
        let program = self.shared.join(name);
        Cmd::new(CC)
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1"])
            .args(self.flags())
            .arg(source)
            .arg("-o")
            .arg(&program)
            .arg("-L")
            .arg(&self.shared)
            .arg("-lmapback")
            .run_ok(log)?;
        Ok(program)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// The names that a DLL exports.
fn exports(dll: &Path, log: &Log) -> Result<Vec<String>> {
    let done = Cmd::new("x86_64-w64-mingw32-objdump").arg("-p").arg(dll).run_ok(log)?;
    let lines = done.output.lines().skip_while(|line| !line.starts_with("[Ordinal/Name Pointer] Table"));
    let name = |line: &str| Some(line.trim().strip_prefix('[')?.split_whitespace().last()?.to_owned());
    let names: Vec<String> = lines.skip(1).map_while(name).collect();
    if names.iter().any(|name| name == "mmap") {
        Ok(names)
    } else {
        bail!("{} exports no mmap", dll.display())
    }
}
