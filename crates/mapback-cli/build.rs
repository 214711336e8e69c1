//! Builds the interposer (`libmapback_preload.so`) with a nested cargo, for `mapback run` to carry inside.
//!
//! One `cargo build` or `cargo install` has to give both, and cargo has no stable way to depend on a cdylib's file.
//! The nested build has a target directory of its own inside `OUT_DIR`, so it never waits for the outer build's lock.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIBRARY: &str = "libmapback_preload.so";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DOCS_RS");
    if env::var_os("DOCS_RS").is_some() {
        // No executable comes out of a documentation build, and one that did would say what it lacks.
        return embed("None\n");
    }
    let target_os = var("CARGO_CFG_TARGET_OS");
    assert!(target_os == "linux", "`mapback run` needs Linux; the target is {target_os}");

    let library = build();
    let content = fs::read(&library).unwrap_or_else(|e| panic!("cannot read {}: {e}", library.display()));
    assert!(content.starts_with(b"\x7fELF"), "{} is not an ELF file", library.display());
    embed(&format!("Some((include_bytes!({library:?}), \"{:016x}\"))\n", fnv1a(&content)));
}

/// Leaves the expression for `src/preload.rs` to include. (Not through the environment: `cargo run` would hand that on to
/// the program.)
fn embed(expression: &str) {
    let file = PathBuf::from(var("OUT_DIR")).join("embedded.rs");
    fs::write(&file, expression).unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
}

/// Runs the nested cargo and tells where the library lies.
fn build() -> PathBuf {
    let out = PathBuf::from(var("OUT_DIR"));
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let sources = here.join("../mapback-preload/Cargo.toml");
    let in_workspace = sources.is_file();
    let (manifest, profile) = if in_workspace {
        watch(&here);
        (sources, profile(&out))
    } else {
        (published(&out), var("PROFILE").replace("debug", "dev"))
    };

    let target = var("TARGET");
    let target_dir = out.join("preload");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.args(["rustc", "--package", "mapback-preload", "--lib", "--crate-type", "cdylib"]);
    cargo.args(["--target", &target, "--profile", &profile]);
    cargo.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(&target_dir);
    if in_workspace && here.join("../../Cargo.lock").is_file() {
        // The outer build has just brought the lock file up to date, and must not see it change under its feet.
        cargo.arg("--locked");
    }
    // The build id is what tells a copy installed beside the program from one of another build.
    cargo.args(["--", "-C", "link-arg=-Wl,--build-id=sha1", "-C", "strip=debuginfo"]);
    // Clippy checks; it does not build. Everything else (RUSTFLAGS, job server, offline) is passed on as it is.
    for name in ["RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"] {
        cargo.env_remove(name);
    }

    let output = cargo.output().unwrap_or_else(|e| panic!("cannot start {cargo:?}: {e}"));
    assert!(
        output.status.success(),
        "building the interposer failed ({}): {cargo:?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = if profile == "dev" { "debug" } else { &profile };
    target_dir.join(target).join(folder).join(LIBRARY)
}

/// Has this script run again whenever something that the interposer is made of changes.
fn watch(here: &Path) {
    for path in ["../mapback/src", "../mapback/Cargo.toml", "../mapback/build.rs"]
        .into_iter()
        .chain(["../mapback-preload/src", "../mapback-preload/Cargo.toml", "../mapback-preload/build.rs"])
        .chain(["../../Cargo.toml", "../../Cargo.lock"])
    {
        let path = here.join(path);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
}

/// The profile of the outer build, read off `OUT_DIR` (…/PROFILE/build/mapback-cli-HASH/out): `PROFILE` itself tells only
/// debug from release.
fn profile(out: &Path) -> String {
    let folder = out.ancestors().nth(3).and_then(Path::file_name).and_then(|name| name.to_str());
    match folder {
        Some("debug") | None => "dev".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// A crate that does nothing but depend on the published interposer, for a build without its sources beside it.
fn published(out: &Path) -> PathBuf {
    let folder = out.join("published");
    let manifest = folder.join("Cargo.toml");
    let version = var("CARGO_PKG_VERSION");
    let text = format!(
        "[package]\nname = \"mapback-interposer\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [lib]\npath = \"lib.rs\"\n\n[dependencies]\nmapback-preload = \"={version}\"\n\n[workspace]\n"
    );
    let written = fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("lib.rs"), ""))
        .and_then(|()| fs::write(&manifest, text));
    written.unwrap_or_else(|e| panic!("cannot write {}: {e}", folder.display()));
    manifest
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|e| panic!("cargo sets {name} for build scripts: {e}"))
}

/// FNV-1a: names the content, so that two builds unpack to two files. What is unpacked is compared byte for byte.
fn fnv1a(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
