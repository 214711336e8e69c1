//! The C library on this system: installed into a prefix, found by pkg-config and by CMake, used by C programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::c_library::{CmakeUser, Parts, VERSION, cmake};
use crate::cargo::cargo;
use crate::ctx::Ctx;
use crate::report::Report;
use crate::run::{Cmd, Log};

/// By plain cargo.
pub(crate) fn run(ctx: &Ctx, report: &mut Report) -> Result<()> {
    uses(ctx, report, by_cargo)
}

/// By cargo-c.
pub(crate) fn run_by_cargo_c(ctx: &Ctx, report: &mut Report) -> Result<()> {
    uses(ctx, report, by_cargo_c)
}

fn uses(ctx: &Ctx, report: &mut Report, install: fn(&Ctx, &Log) -> Result<PathBuf>) -> Result<()> {
    let mut prefix = None;
    report.case("installation into a prefix", |log| {
        prefix = Some(install(ctx, log)?);
        Ok(String::new())
    });
    let Some(prefix) = prefix else { return Ok(()) };
    let installed = Installed { prefix };
    report.case("every symbol has a version", |log| installed.symbols(log));
    report.case("counter.c counts", |log| {
        let program = installed.compile(ctx, "counter", Linking::Shared, log)?;
        for run in 1..=3 {
            let done = installed.run(&program).arg(installed.prefix.join("count")).run_ok(log)?;
            ensure!(done.output == format!("run {run}\n"), "it printed {:?} in run {run}", done.output);
        }
        Ok(String::new())
    });
    for linking in [Linking::Shared, Linking::Static] {
        report.case(format!("endings.c loses nothing, {linking:?}"), |log| {
            endings(ctx, &installed, linking, log)
        });
    }
    report.case("a project finds it by CMake", |log| {
        let user = CmakeUser {
            prefix: &installed.prefix,
            source: ctx.root.join("examples/counter.c"),
            arguments: "count",
            defines: &[],
            with: &|cmd| cmd,
        };
        cmake(ctx, &user, log)
    });
    Ok(())
}

/// Each ending, one after the other with the same file: what one leaves behind is in the next one's way.
fn endings(ctx: &Ctx, installed: &Installed, linking: Linking, log: &Log) -> Result<String> {
    let program = installed.compile(ctx, "endings", linking, log)?;
    let file = installed.prefix.join("ending");
    for ending in ["return", "exit", "fork", "destructor", "return"] {
        let done = installed.run(&program).arg(&file).arg(ending).run_ok(log)?;
        ensure!(done.output.is_empty(), "with {ending} it said {:?}", done.output);
        let found = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(found == b"Jello", "after {ending} the file has {:?}", String::from_utf8_lossy(&found));
    }
    Ok(String::new())
}

fn by_cargo(ctx: &Ctx, log: &Log) -> Result<PathBuf> {
    // The name under which programs look for it at run time, as cargo-c makes it of the version.
    let mut parts = VERSION.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let name = format!("libmapback.so.{}", if major == "0" { format!("0.{minor}") } else { major.into() });
    let done = cargo(ctx)
        .args(["rustc", "--release", "--package", "mapback-c", "--lib", "--message-format=json", "--"])
        .args(["-C", &format!("link-arg=-Wl,-soname,{name}")])
        .stdout_apart()
        .run_ok(log)?;
    let parts = Parts::of(&done.stdout)?;
    let prefix = parts.begin(ctx, ctx.scratch.join("c-library"), log)?;
    let libraries = prefix.join("lib");
    let full = format!("libmapback.so.{VERSION}");
    parts.install("libmapback_c.a", &libraries.join("libmapback.a"))?;
    parts.install("libmapback_c.so", &libraries.join(&full))?;
    for link in [name.as_str(), "libmapback.so"] {
        symlink(&full, libraries.join(link)).with_context(|| format!("cannot link {link}"))?;
    }
    Ok(prefix)
}

fn by_cargo_c(ctx: &Ctx, log: &Log) -> Result<PathBuf> {
    let prefix = ctx.fresh_dir("c-library-by-cargo-c")?;
    let tools = ctx.tools().join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(tools).chain(std::env::split_paths(&path));
    cargo(ctx)
        .args(["cinstall", "--package", "mapback-c", "--release", "--libdir", "lib", "--prefix"])
        .arg(&prefix)
        .env("PATH", std::env::join_paths(paths)?)
        .limit(Duration::from_secs(30 * 60))
        .run_ok(log)?;
    Ok(prefix)
}

#[derive(Clone, Copy, Debug)]
enum Linking {
    Shared,
    Static,
}

impl Linking {
    /// The library's flags, as a user puts them into a command.
    const fn flags(self) -> &'static str {
        match self {
            Self::Shared => "$(pkg-config --cflags --libs mapback)",
            Self::Static => {
                "$(pkg-config --cflags --libs --static mapback | sed s/-lmapback/-l:libmapback.a/)"
            }
        }
    }
}

struct Installed {
    prefix: PathBuf,
}

impl Installed {
    fn libraries(&self) -> PathBuf {
        self.prefix.join("lib")
    }

    fn symbols(&self, log: &Log) -> Result<String> {
        let library = self.libraries().join("libmapback.so");
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

    /// Compiles an example with the command that its own first line gives.
    fn compile(&self, ctx: &Ctx, name: &str, linking: Linking, log: &Log) -> Result<PathBuf> {
        let program = self.prefix.join(format!("{name}-{linking:?}"));
        let cc = "cc -std=gnu11 -Wall -Wextra -Werror -O2";
        Cmd::new("sh")
            .args(["-euc", &format!("{cc} \"$1\" {} -o \"$2\"", linking.flags()), "sh"])
            .arg(ctx.root.join("examples").join(format!("{name}.c")))
            .arg(&program)
            .env("PKG_CONFIG_PATH", self.libraries().join("pkgconfig"))
            .run_ok(log)?;
        Ok(program)
    }

    fn run(&self, program: &Path) -> Cmd {
        Cmd::new(program).env("LD_LIBRARY_PATH", self.libraries())
    }
}
