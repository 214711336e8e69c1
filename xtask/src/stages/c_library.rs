//! The C library on this system: installed into a prefix by cargo-c, found by pkg-config, used by C programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cargo::cargo;
use crate::ctx::Ctx;
use crate::report::Report;
use crate::run::{Cmd, Log};

/// Where cargo-c is told to put things, below the stage's own directory.
const PREFIX: &str = "/usr";

pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    let root = ctx.fresh_dir("c-library")?;
    let installed = Installed::new(ctx, &root, report.log())?;
    report.case("every symbol has a version", |log| installed.symbols(log));
    report.case("counter.c counts", |log| {
        let program = installed.compile(ctx, "counter", log)?;
        for run in 1..=3 {
            let done = installed.run(&program).arg(root.join("count")).run_ok(log)?;
            ensure!(done.output == format!("run {run}\n"), "it printed {:?} in run {run}", done.output);
        }
        Ok(String::new())
    });
    report.case("endings.c loses nothing", |log| {
        let program = installed.compile(ctx, "endings", log)?;
        for ending in ["return", "exit", "fork"] {
            let file = root.join("ending");
            installed.run(&program).arg(&file).arg(ending).run_ok(log)?;
            let found = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            ensure!(found == b"Jello", "after {ending} the file has {:?}", String::from_utf8_lossy(&found));
        }
        Ok(String::new())
    });
    Ok(())
}

struct Installed {
    root: PathBuf,
    libraries: PathBuf,
}

impl Installed {
    fn new(ctx: &Ctx, root: &Path, log: &Log) -> Result<Self> {
        let tools = ctx.tools().join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(tools).chain(std::env::split_paths(&path));
        cargo(ctx)
            .args(["cinstall", "--package", "mapback-c", "--release", "--prefix", PREFIX])
            .args(["--libdir", "lib", "--destdir"])
            .arg(root)
            .env("PATH", std::env::join_paths(paths)?)
            .limit(Duration::from_secs(30 * 60))
            .run_ok(log)?;
        let libraries = root.join(PREFIX.trim_start_matches('/')).join("lib");
        Ok(Self { root: root.to_owned(), libraries })
    }

    fn symbols(&self, log: &Log) -> Result<String> {
        let library = self.libraries.join("libmapback.so");
        let done = Cmd::new("nm").args(["--dynamic", "--defined-only"]).arg(&library).run_ok(log)?;
        let names: Vec<_> = done.output.lines().filter_map(|line| line.split(' ').nth(2)).collect();
        let ours = || names.iter().filter(|name| name.starts_with("mapback_"));
        ensure!(ours().count() >= 10, "it has only {} functions", ours().count());
        let bare: Vec<_> = ours().filter(|name| !name.contains("@@libmapback.so.")).collect();
        ensure!(bare.is_empty(), "without a version: {bare:?}");
        let strange: Vec<_> =
            names.iter().filter(|name| !name.contains("mapback") && !name.starts_with("rust_eh")).collect();
        ensure!(strange.is_empty(), "it exports what is not ours: {strange:?}");
        Ok(format!("{} functions", ours().count()))
    }

    fn compile(&self, ctx: &Ctx, name: &str, log: &Log) -> Result<PathBuf> {
        let flags = Cmd::new("pkg-config")
            .args(["--cflags", "--libs", "mapback"])
            .env("PKG_CONFIG_PATH", self.libraries.join("pkgconfig"))
            .env("PKG_CONFIG_SYSROOT_DIR", &self.root)
            .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1")
            .env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1")
            .run_ok(log)?
            .output;
        let program = self.root.join(name);
        Cmd::new("cc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2"])
            .arg(ctx.root.join("examples").join(format!("{name}.c")))
            .args(flags.split_whitespace())
            .arg("-o")
            .arg(&program)
            .run_ok(log)?;
        Ok(program)
    }

    fn run(&self, program: &Path) -> Cmd {
        Cmd::new(program).env("LD_LIBRARY_PATH", &self.libraries)
    }
}
