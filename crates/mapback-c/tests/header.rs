//! `include/mapback.h` says what the library has: each prototype stands beside the Rust function's type, and a C
//! program that takes the address of every function is compiled, linked and run.

use core::ffi::{c_char, c_int, c_void};
use mapback_c::info::{self, MapbackStats};
use mapback_c::mman;

const HEADER: &str = include_str!("../include/mapback.h");

/// Each line: a prototype as it stands in the header, and the function with its type.
macro_rules! prototypes {
    ($($text:literal: $function:path as $type:ty;)+) => {
        [$({
            let _: $type = $function;
            $text
        }),+]
    };
}

fn common() -> Vec<&'static str> {
    prototypes! {
        "int mapback_munmap(void *addr, size_t len);":
            mman::mapback_munmap as unsafe extern "C" fn(*mut c_void, usize) -> c_int;
        "int mapback_msync(void *addr, size_t len, int flags);":
            mman::mapback_msync as extern "C" fn(*mut c_void, usize, c_int) -> c_int;
        "int mapback_mprotect(void *addr, size_t len, int prot);":
            mman::mapback_mprotect as unsafe extern "C" fn(*mut c_void, usize, c_int) -> c_int;
        "void mapback_flush(void);": mman::mapback_flush as extern "C" fn();
        "int mapback_set_tracker(const char *name);":
            info::mapback_set_tracker as unsafe extern "C" fn(*const c_char) -> c_int;
        "int mapback_errno(void);": info::mapback_errno as extern "C" fn() -> c_int;
        "const char *mapback_error_text(void);": info::mapback_error_text as extern "C" fn() -> *const c_char;
        "const char *mapback_version(void);": info::mapback_version as extern "C" fn() -> *const c_char;
        "int mapback_stats(struct mapback_stats *out, size_t size);":
            info::mapback_stats as unsafe extern "C" fn(*mut MapbackStats, usize) -> c_int;
    }
    .into()
}

#[cfg(unix)]
fn special() -> Vec<&'static str> {
    prototypes! {
        "void *mapback_mmap(void *addr, size_t len, int prot, int flags, int fd, int64_t off);":
            mman::mapback_mmap as unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, c_int, i64) -> *mut c_void;
    }
    .into()
}

#[cfg(windows)]
fn special() -> Vec<&'static str> {
    use mapback_c::windows::{
        mapback_first_use, mapback_mlock, mapback_munlock, mapback_prepare, mapback_release,
    };
    type OnRange = extern "C" fn(*const c_void, usize) -> c_int;
    prototypes! {
        "void *mapback_mmap_handle(void *addr, size_t len, int prot, int flags, void *handle, int64_t off);":
            mman::mapback_mmap
            as unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, *mut c_void, i64) -> *mut c_void;
        "int mapback_mlock(const void *addr, size_t len);": mapback_mlock as OnRange;
        "int mapback_munlock(const void *addr, size_t len);": mapback_munlock as OnRange;
        "int mapback_prepare(const void *addr, size_t len);": mapback_prepare as OnRange;
        "int mapback_release(const void *addr, size_t len);": mapback_release as OnRange;
        "int mapback_first_use(void);": mapback_first_use as extern "C" fn() -> c_int;
    }
    .into()
}

#[test]
fn each_prototype_has_its_function_and_each_function_its_prototype() {
    let known: Vec<_> = common().into_iter().chain(special()).collect();
    for prototype in &known {
        assert!(HEADER.lines().any(|line| line == *prototype), "the header has no line {prototype:?}");
    }
    // What is for the other system is between `#ifdef _WIN32`, `#else` and `#endif`.
    let mut shown = true;
    let mut depth = Vec::new();
    for line in HEADER.lines() {
        match line.split_whitespace().next() {
            Some("#ifdef" | "#ifndef") => {
                depth.push(shown);
                if line.ends_with("_WIN32") {
                    shown = shown && cfg!(windows);
                } else if line.ends_with("__cplusplus") {
                    shown = false;
                }
            }
            Some("#else") => shown = depth.last() == Some(&true) && !shown,
            Some("#endif") => shown = depth.pop().unwrap_or(true),
            _ if shown && line.ends_with(");") && line.contains("mapback_") && !line.starts_with(' ') => {
                assert!(known.contains(&line), "no function of the library stands behind {line:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn the_structure_has_the_same_fields_on_both_sides() {
    let text =
        HEADER.split("struct mapback_stats {").nth(1).and_then(|rest| rest.split("};").next()).unwrap();
    let fields: Vec<_> =
        text.lines().filter_map(|line| line.trim().strip_prefix("uint64_t ")?.split(';').next()).collect();
    assert_eq!(fields, ["files", "maps", "bytes_loaded", "pages_changed", "runs", "bytes_written"]);
    assert_eq!(size_of::<MapbackStats>(), fields.len() * 8);
    let stats =
        MapbackStats { files: 1, maps: 2, bytes_loaded: 3, pages_changed: 4, runs: 5, bytes_written: 6 };
    // SAFETY: plain 64-bit numbers, without padding as the size shows.
    let words: [u64; 6] = unsafe { core::mem::transmute(stats) };
    assert_eq!(words, [1, 2, 3, 4, 5, 6]);
}

/// Linked with the shared library, as a C program is.
#[cfg(target_os = "linux")]
#[test]
fn a_c_program_calls_every_function() {
    use std::process::Command;
    let built = std::env::current_exe().unwrap();
    let built = built.parent().and_then(|deps| deps.parent()).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("functions");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(root.join("include"))
        .arg(root.join("tests/functions.c"))
        .arg("-o")
        .arg(&program)
        .arg(built.join("deps/libmapback_c.so"))
        .status()
        .expect("a C compiler, cc");
    assert!(compiled.success());
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("functions-file");
    let _ = std::fs::remove_file(&file);
    let run = Command::new(&program).arg(&file).env("LD_LIBRARY_PATH", built.join("deps")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(std::fs::read(&file).unwrap(), b"HELLO, C");
}
