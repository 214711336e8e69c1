//! Where the program is that serves a mount.
//!
//! Cargo builds a package's programs for its own integration tests only. A test of another package therefore
//! has the program built, which costs nothing if it is up to date.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const NAME: &str = "mapback-directio";

/// The program: what `MAPBACK_DIRECTIO` names, else the one of this build.
pub(crate) fn find() -> io::Result<PathBuf> {
    if let Some(program) = env::var_os("MAPBACK_DIRECTIO") {
        return Ok(program.into());
    }
    let profile = profile_directory()?;
    let program = profile.join(NAME);
    if let Some(cargo) = env::var_os("CARGO") {
        // Once per process. Under a lock, so that no thread starts the program while it is being linked.
        static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
        BUILT.get_or_init(|| build(Path::new(&cargo), &profile)).clone().map_err(io::Error::other)?;
    }
    if program.exists() {
        return Ok(program);
    }
    let message = format!(
        "{} does not exist: run `cargo build -p mapback-testkit`, or name the program in MAPBACK_DIRECTIO",
        program.display()
    );
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}

/// `target/debug` or the like: tests and benches lie in a directory below it, programs in it.
fn profile_directory() -> io::Result<PathBuf> {
    let mut directory = env::current_exe()?;
    directory.pop();
    if directory.ends_with("deps") || directory.ends_with("examples") {
        directory.pop();
    }
    Ok(directory)
}

fn build(cargo: &Path, profile: &Path) -> Result<(), String> {
    let (Some(name), Some(target)) = (profile.file_name(), profile.parent()) else {
        return Err(format!("{}: not a cargo target directory", profile.display()));
    };
    let name = if name == "debug" { "dev".as_ref() } else { name };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--bin", NAME, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .arg("--profile")
        .arg(name)
        .env_remove("LD_PRELOAD")
        .output()
        .map_err(|error| format!("{}: {error}", cargo.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("cargo build --bin {NAME} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}
