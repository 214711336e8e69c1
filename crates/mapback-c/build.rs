//! Gives the symbols of the shared library a version, the name under which programs find the library.
//!
//! rustc has a version script of its own, beside which a linker takes no second one; `--default-symver` goes with it,
//! and is GNU ld's.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        for arg in ["-fuse-ld=bfd", "-Wl,--default-symver"] {
            println!("cargo:rustc-cdylib-link-arg={arg}");
        }
    }
}
