//! Building GDBM as its makers intend it, for Windows.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Gdbm, source, write};
use crate::ctx::Ctx;
use crate::run::{Cmd, Log};
use crate::stages::windows::ac_func_mmap::CROSS_CC;
use crate::stages::windows::mingw::CC;
use crate::stages::windows::toolchain::Built;
use crate::stages::windows::wine::{WINE, Wine};

/// Headers that mingw lacks. `posix.h` stands for all of them.
const HEADERS: [&str; 7] =
    ["arpa/inet.h", "grp.h", "pwd.h", "sys/ioctl.h", "sys/resource.h", "sys/wait.h", "termios.h"];

impl<'c> Gdbm<'c> {
    /// Configures and compiles GDBM. Says of it which it is.
    pub(super) fn build(ctx: &'c Ctx, wine: &'c Wine, built: &'c Built, log: &Log) -> Result<(Self, String)> {
        let root = ctx.target.join("windows").join("gdbm");
        let sources = source::unpack(ctx, root.clone(), log)?;
        let gdbm = Self { ctx, wine, built, root, tests: sources.join("tests") };
        gdbm.compile_posix(log)?;
        gdbm.configure(&sources, log)?;
        gdbm.make(&sources, log)?;
        for dir in ["tests", "tools"] {
            start_by_wine(&sources.join(dir))?;
        }
        Ok((gdbm, format!("GDBM {}, working mmap: yes", source::VERSION)))
    }

    /// Where what GDBM takes from POSIX beside `mmap` is.
    pub(super) fn posix(&self) -> PathBuf {
        self.ctx.root.join("xtask/programs/windows/gdbm")
    }

    pub(super) fn flags(&self) -> String {
        let (mapback, posix, headers) = (self.built.cflags(), self.posix(), self.root.join("include"));
        format!("{mapback} -I{} -I{} -D_FILE_OFFSET_BITS=64", posix.display(), headers.display())
    }

    fn compile_posix(&self, log: &Log) -> Result<()> {
        for header in HEADERS {
            write(&self.root.join("include").join(header), "#include \"posix.h\"\n")?;
        }
        let object = self.root.join("posix.o");
        Cmd::new(CC)
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-c"])
            .args(self.flags().split(' '))
            .arg(self.posix().join("posix.c"))
            .arg("-o")
            .arg(&object)
            .run_ok(log)?;
        let archive = self.root.join("libposix.a");
        Cmd::new("x86_64-w64-mingw32-ar").arg("rcs").arg(archive).arg(object).run_ok(log)?;
        Ok(())
    }

    /// GDBM's configure decides by itself, by AC_FUNC_MMAP's program, whether GDBM uses `mmap`.
    fn configure(&self, sources: &Path, log: &Log) -> Result<()> {
        let cross_cc = self.root.join("cross-cc");
        write(&cross_cc, &CROSS_CC.replace("COMPILER", CC).replace("WINE", WINE))?;
        let done = self
            .wine
            .with(Cmd::new("sh"))
            .args(["./configure", "--host=x86_64-w64-mingw32", "--disable-shared", "--disable-nls"])
            .args(["--enable-libgdbm-compat", "--without-readline", "LIBS=-lposix -lmapback"])
            .arg(format!("CC=sh {}", cross_cc.display()))
            .arg(format!("CPPFLAGS={}", self.flags()))
            .arg(format!("LDFLAGS={} -L{} -Wl,--wrap=main", self.built.ldflags(), self.root.display()))
            .cwd(sources)
            .limit(Duration::from_secs(300))
            .run_ok(log)?;
        ensure!(
            done.output.contains("checking for working mmap... yes"),
            "GDBM's configure found no working mmap:\n{}",
            crate::run::tail(&done.output)
        );
        Ok(())
    }

    fn make(&self, sources: &Path, log: &Log) -> Result<()> {
        let make = || {
            Cmd::new("make")
                .args(["-j2", &format!("CPPFLAGS={} -include posix.h", self.flags())])
                .limit(Duration::from_secs(300))
        };
        make().cwd(sources).run_ok(log)?;
        // What `make check` compiles before it runs the tests.
        let programs = ["--eval=.SECONDEXPANSION:", "--eval=programs: $$(check_PROGRAMS)", "programs"];
        make().args(programs).cwd(&self.tests).run_ok(log)?;
        Ok(())
    }
}

/// Puts a script beside each program, by which GDBM's tests start it.
fn start_by_wine(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let program = entry?.path();
        if program.extension().is_some_and(|extension| extension == "exe") {
            let script = program.with_extension("");
            write(&script, &format!("#!/bin/sh\nexec {WINE} {} \"$@\"\n", program.display()))?;
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("cannot make {} executable", script.display()))?;
        }
    }
    Ok(())
}
