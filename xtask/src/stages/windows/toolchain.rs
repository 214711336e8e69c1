//! Debian's own Rust, which has the sources of std, and mingw: builds for targets that rustup's toolchain lacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;

use super::mingw::{CC, GNU};
use super::wine::Wine;
use crate::c_library::Parts;
use crate::ctx::Ctx;
use crate::run::{Cmd, Done, Log};

/// The import library for MSVC's linker, by the name that Rust gives it on that target.
const MSVC_LIB: &str = "lib/mapback.dll.lib";

pub(super) struct Toolchain<'c> {
    ctx: &'c Ctx,
    target: PathBuf,
}

/// The C library for Windows, installed into a prefix.
pub(super) struct Built {
    pub(super) prefix: PathBuf,
    /// Where C programs are put that are compiled against it.
    programs: PathBuf,
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
        no_warnings(&done)?;
        Ok(packages.iter().filter(|word| **word != "-p").copied().collect::<Vec<_>>().join(", "))
    }

    /// A test program of a package, by name.
    pub(super) fn test_program(&self, package: &str, name: &str, log: &Log) -> Result<PathBuf> {
        let which: &[&str] = if name == package { &["--lib"] } else { &["--test", name] };
        let args = ["--no-run", "--no-default-features", "--package", package];
        self.program(self.cargo("test", GNU).args(args).args(which), name, log)
    }

    /// An example of the library's, by name.
    pub(super) fn example(&self, name: &str, log: &Log) -> Result<PathBuf> {
        let args = ["--package", "mapback", "--example", name];
        self.program(self.cargo("build", GNU).args(args), name, log)
    }

    /// Builds a program and says where it is.
    fn program(&self, build: Cmd, name: &str, log: &Log) -> Result<PathBuf> {
        let done = build.arg("--message-format=json").stdout_apart().run_ok(log)?;
        for message in Message::parse_stream(done.stdout.as_bytes()) {
            if let Message::CompilerArtifact(artifact) = message.context("cannot read cargo's messages")?
                && artifact.target.name == name
                && let Some(executable) = artifact.executable
            {
                return Ok(executable.into_std_path_buf());
            }
        }
        bail!("cargo built no program {name}");
    }

    /// Builds the C library and installs it where Wine looks for DLLs. `profile`: what is not "dev" compiles std again.
    pub(super) fn library(&self, wine: &Wine, profile: &str, log: &Log) -> Result<Built> {
        let args =
            ["--profile", profile, "--package", "mapback-c", "--message-format=json-render-diagnostics"];
        let done = self.cargo("build", GNU).args(args).stdout_apart().run_ok(log)?;
        no_warnings(&done)?;
        let parts = Parts::of(&done.stdout)?;
        let prefix = parts.begin(self.ctx, wine.installed.clone(), log)?;
        let dll = prefix.join("bin/mapback.dll");
        parts.install("mapback_c.dll", &dll)?;
        parts.install("libmapback_c.a", &prefix.join("lib/libmapback.a"))?;
        let def = prefix.join("lib/mapback.def");
        fs::write(&def, format!("LIBRARY mapback.dll\nEXPORTS\n{}\n", exports(&dll, log)?.join("\n")))
            .with_context(|| format!("cannot write {}", def.display()))?;
        Cmd::new("x86_64-w64-mingw32-dlltool")
            .args(["-D", "mapback.dll", "-d"])
            .arg(&def)
            .arg("-l")
            .arg(prefix.join("lib/libmapback.dll.a"))
            .run_ok(log)?;
        msvc_linker(log)?
            .args(["/lib", "/machine:x64"])
            .arg(flag("/def:", &def))
            .arg(flag("/out:", &prefix.join(MSVC_LIB)))
            .run_ok(log)?;
        Ok(Built { prefix, programs: crate::ctx::fresh(self.target.join("programs"))? })
    }
}

impl Built {
    pub(super) fn note(&self) -> String {
        let size = |name: &str| fs::metadata(self.prefix.join(name)).map_or(0, |m| m.len() >> 10);
        format!("{} KiB and {} KiB", size("bin/mapback.dll"), size("lib/libmapback.a"))
    }

    /// The compiler's flag by which it finds the headers.
    pub(super) fn cflags(&self) -> String {
        format!("-I{}", self.prefix.join("include").display())
    }

    /// The linker's flag by which it finds the library.
    pub(super) fn ldflags(&self) -> String {
        format!("-L{}", self.prefix.join("lib").display())
    }

    /// Compiles a C program against the DLL.
    pub(super) fn compile(&self, source: &Path, name: &str, log: &Log) -> Result<PathBuf> {
        let program = self.programs.join(name);
        Cmd::new(CC)
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1"])
            .arg(self.cflags())
            .arg(source)
            .arg("-o")
            .arg(&program)
            .args([&self.ldflags(), "-lmapback"])
            .run_ok(log)?;
        Ok(program)
    }

    /// Compiles a C program and links it with the DLL as MSVC's tools do: no C run-time library, and `start` is called.
    pub(super) fn link_as_msvc(&self, source: &Path, name: &str, log: &Log) -> Result<PathBuf> {
        let object = self.programs.join(name).with_extension("obj");
        Cmd::new(CC)
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-ffreestanding", "-c"])
            .arg(self.cflags())
            .arg(source)
            .arg("-o")
            .arg(&object)
            .run_ok(log)?;
        let kernel = Cmd::new(CC).arg("-print-file-name=libkernel32.a").run_ok(log)?;
        let program = self.programs.join(name);
        msvc_linker(log)?
            .args(["/entry:start", "/subsystem:console", "/nodefaultlib"])
            .arg(flag("/out:", &program))
            .arg(object)
            .arg(self.prefix.join(MSVC_LIB))
            .arg(kernel.output.trim())
            .run_ok(log)?;
        Ok(program)
    }
}

/// LLVM's linker in the manner of MSVC's, from the Rust toolchain.
fn msvc_linker(log: &Log) -> Result<Cmd> {
    let libs = Cmd::new("rustc").args(["--print", "target-libdir"]).stdout_apart().run_ok(log)?;
    let linker = Path::new(libs.stdout.trim()).with_file_name("bin").join("rust-lld");
    ensure!(linker.exists(), "the Rust toolchain has no {}", linker.display());
    Ok(Cmd::new(linker).args(["-flavor", "link"]))
}

/// An argument of a linker in the manner of MSVC's.
fn flag(name: &str, path: &Path) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(name);
    flag.push(path);
    flag
}

fn no_warnings(done: &Done) -> Result<()> {
    let warned = done.output.lines().any(|line| line.starts_with("warning: "));
    ensure!(!warned, "it compiles with warnings:\n{}", crate::run::tail(&done.output));
    Ok(())
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
