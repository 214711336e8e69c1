//! Programs for Windows, run by Wine in a prefix of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::mingw::CC;
use crate::ctx::Ctx;
use crate::run::{Cmd, Log};

/// Wine 8 lacks this DLL, which Rust's std asks for random numbers.
const SHIM: &str = "#include <windows.h>\n\
    BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);\n\
    __declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T len)\n\
    {\n    return SystemFunction036(to, (ULONG)len);\n}\n";

pub(super) struct Wine {
    home: PathBuf,
    /// Where the library is installed, whose DLL programs find.
    pub(super) installed: PathBuf,
}

impl Wine {
    pub(super) fn new(ctx: &Ctx) -> Result<Self> {
        let dir = ctx.target.join("windows");
        let (home, installed) = (dir.join("wine"), dir.join("installed"));
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        Ok(Self { home, installed })
    }

    /// Makes the prefix, which takes some seconds the first time.
    pub(super) fn begin(&self, log: &Log) -> Result<String> {
        self.shim(log)?;
        self.with(Cmd::new(WINE)).args(["cmd", "/c", "ver"]).limit(Duration::from_secs(180)).run_ok(log)?;
        let version = Cmd::new(WINE).arg("--version").run_ok(log)?;
        Ok(version.output.trim().to_owned())
    }

    /// A program under Wine.
    pub(super) fn run(&self, program: &Path) -> Cmd {
        self.with(Cmd::new(WINE).arg(program))
    }

    /// The variables of a program under Wine.
    pub(super) fn with(&self, cmd: Cmd) -> Cmd {
        self.with_dlls(cmd, &self.installed.join("bin"))
    }

    /// The variables of a program under Wine that finds its DLLs in `dlls`.
    pub(super) fn with_dlls(&self, cmd: Cmd, dlls: &Path) -> Cmd {
        let path = format!("{};{}", Self::path(&self.home), Self::path(dlls));
        cmd.env("WINEARCH", "win64")
            .env("WINEDEBUG", "-all")
            .env("WINEPREFIX", self.home.join("prefix"))
            .env("WINEPATH", path)
    }

    /// A path as programs for Windows have it.
    pub(super) fn path(path: &Path) -> String {
        format!("Z:{}", path.display()).replace('/', "\\")
    }

    /// Makes the DLL that Wine lacks; for tests only.
    fn shim(&self, log: &Log) -> Result<()> {
        let (source, dll) = (self.home.join("shim.c"), self.home.join("bcryptprimitives.dll"));
        if !dll.exists() {
            fs::write(&source, SHIM).with_context(|| format!("cannot write {}", source.display()))?;
            Cmd::new(CC).arg("-shared").arg("-o").arg(&dll).arg(&source).arg("-ladvapi32").run_ok(log)?;
        }
        Ok(())
    }
}

pub(super) const WINE: &str = "/usr/lib/wine/wine64";
