//! What the command's tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under test.
pub const MAPBACK: &str = env!("CARGO_BIN_EXE_mapback");

/// `mapback` with these arguments, and nothing of an outer mapback in its environment.
pub fn mapback(args: &[&str]) -> Command {
    let mut command = Command::new(MAPBACK);
    for name in ["LD_PRELOAD", "MAPBACK_MAPS", "MAPBACK_ONLY", "MAPBACK_EXCEPT", "MAPBACK_TRACKER"] {
        command.env_remove(name);
    }
    for name in ["MAPBACK_INCLUDE_TMPFS", "MAPBACK_STATS", "MAPBACK_PRELOAD"] {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// `mapback run OPTIONS -- sh -c SCRIPT`.
pub fn run_sh(options: &[&str], script: &str) -> Command {
    let mut command = mapback(&["run"]);
    command.args(options).args(["--", "sh", "-c", script]);
    command
}

/// What was printed, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first line printed.
pub fn first_line(output: &Output) -> String {
    text(&output.stdout).lines().next().unwrap_or_default().to_owned()
}

/// Compiles a C program that ends with status 5.
pub fn compile(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let source = folder.join("five.c");
    std::fs::write(&source, "int main(void) { return 5; }\n").unwrap();
    let program = folder.join(name);
    let status = Command::new("cc").args(options).arg(&source).arg("-o").arg(&program).status();
    assert!(status.expect("cc, which Rust itself links with").success());
    program
}
