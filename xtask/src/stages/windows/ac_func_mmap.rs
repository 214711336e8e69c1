//! Autoconf's AC_FUNC_MMAP, by its own configure script: the program is cross-compiled by mingw against our headers,
//! and configure runs it under Wine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::mingw::CC;
use super::toolchain::Built;
use super::wine::{WINE, Wine};
use crate::ctx::Ctx;
use crate::run::{Cmd, Log};
use crate::stages::ac_func_mmap::{AUXILIARY, CONFIGURE_AC};

/// Puts a script in the place of each program that it compiles, which runs the program by Wine: so configure need not
/// know that it is not for this system.
pub(super) const CROSS_CC: &str = r#"#!/bin/sh
COMPILER "$@" || exit
if test -f conftest.exe && test "$(head -c 2 conftest.exe)" = MZ; then
    mv conftest.exe conftest-real.exe
    printf '#!/bin/sh\nexec WINE ./conftest-real.exe "$@"\n' >conftest.exe && chmod +x conftest.exe
fi
"#;

/// The program opens files without O_BINARY and expects that its bytes are not translated, as on other systems.
const BINARY: &str = "int _fmode = 0x8000;\n";

pub(super) fn run(ctx: &Ctx, wine: &Wine, built: &Built, tracker: &str, log: &Log) -> Result<String> {
    let dir = ctx.fresh_dir("windows-ac-func-mmap")?;
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("configure.ac", CONFIGURE_AC)?;
    write("cross-cc", &CROSS_CC.replace("COMPILER", CC).replace("WINE", WINE))?;
    write("binary.c", BINARY)?;
    for name in AUXILIARY {
        let from = Path::new("/usr/share/autoconf/build-aux").join(name);
        fs::copy(&from, dir.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Cmd::new(CC).args(["-c", "binary.c", "-o", "binary.o"]).cwd(&dir).run_ok(log)?;
    Cmd::new("autoconf").cwd(&dir).run_ok(log)?;
    let done = wine
        .with(Cmd::new("sh"))
        .arg("./configure")
        .arg(format!("CC=sh {}", dir.join("cross-cc").display()))
        .arg(format!("CPPFLAGS={}", built.cflags()))
        .arg(format!("LDFLAGS={}", built.ldflags()))
        .arg(format!("LIBS={} -lmapback", dir.join("binary.o").display()))
        .env("MAPBACK_TRACKER", tracker)
        .cwd(&dir)
        .run_ok(log)?;
    ensure!(
        done.output.contains("checking for working mmap... yes"),
        "configure found no working mmap:\n{}",
        crate::run::tail(&done.output)
    );
    Ok("checking for working mmap... yes".into())
}
