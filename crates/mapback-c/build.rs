//! Gives the symbols of the shared library a version, the name under which programs find the library, and fills in the
//! templates of what is installed beside it. `capi/include` and `capi/share` are laid out as in the prefix: cargo-c
//! installs them from there. `mapback.pc` is for an installation by other hands; cargo-c makes one of its own.
//!
//! rustc has a version script of its own, beside which a linker takes no second one; `--default-symver` goes with it,
//! and is GNU ld's.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// What Rust's std wants of the system where the library is linked statically (`rustc --print native-static-libs`).
const UNIX_LIBRARIES: &str = "gcc_s util rt pthread m dl c";
const WINDOWS_LIBRARIES: &str = "kernel32 ntdll userenv ws2_32 dbghelp";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if os == "linux" {
        // What it registered with the system (handlers of signals and forks) stays until the process ends.
        for arg in ["-fuse-ld=bfd", "-Wl,--default-symver", "-Wl,-z,nodelete"] {
            println!("cargo:rustc-cdylib-link-arg={arg}");
        }
    }
    let libraries = if os == "windows" { WINDOWS_LIBRARIES } else { UNIX_LIBRARIES };
    let capi = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a directory")).join("capi");
    for (name, to) in [
        ("mapbackConfig.cmake", "share/cmake/mapback"),
        ("mapbackConfigVersion.cmake", "share/cmake/mapback"),
        ("mapback.pc", "."),
    ] {
        let text = filled(&read(&format!("templates/{name}.in")), libraries);
        write(&capi.join(to).join(name), &text);
    }
    if os == "windows" {
        write(&capi.join("include/sys/mman.h"), &read("include/windows/sys/mman.h"));
    }
}

/// Puts in what the package and the system are.
fn filled(text: &str, libraries: &str) -> String {
    let package = |what: &str| env::var(format!("CARGO_PKG_{what}")).expect("cargo tells of the package");
    let names: Vec<_> = libraries.split(' ').collect();
    text.replace("@DESCRIPTION@", &package("DESCRIPTION"))
        .replace("@VERSION@", &package("VERSION"))
        .replace("@MAJOR@", &package("VERSION_MAJOR"))
        .replace("@MINOR@", &package("VERSION_MINOR"))
        .replace("@LIBRARIES@", &names.join(";"))
        .replace("@LIBRARY_FLAGS@", &format!("-l{}", names.join(" -l")))
}

fn read(name: &str) -> String {
    println!("cargo:rerun-if-changed={name}");
    fs::read_to_string(name).unwrap_or_else(|error| panic!("cannot read {name}: {error}"))
}

fn write(path: &Path, text: &str) {
    let done = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    done.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
