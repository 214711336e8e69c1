//! The stages of `cargo xtask test`. A new one is a file here and a line in [`STAGES`].

mod ac_func_mmap;
mod c_library;
pub(crate) mod conformance;
mod cpython;
mod fsx;
pub(crate) mod fsx_many;
pub(crate) mod lmdb;
mod memmap2_users;
mod miri;
mod msrv;
pub(crate) mod several;
pub(crate) mod sharing;
pub(crate) mod sqlite;
mod unit;
pub(crate) mod windows;

use anyhow::Result;

use crate::ctx::Ctx;
use crate::install::Need;
use crate::report::Report;
use crate::tracker::Tracker;

/// A part of the tests that can be chosen by name.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(&Ctx, &mut Report) -> Result<()>,
}

const fn stage(
    name: &'static str,
    about: &'static str,
    needs: &'static [Need],
    run: fn(&Ctx, &mut Report) -> Result<()>,
) -> Stage {
    Stage { name, about, needs, run }
}

const MOUNTS: [Need; 3] = [Need::Programs, Need::FUSE, Need::BINDFS];
const AUTOCONF: [Need; 6] = [Need::Programs, Need::FUSE, Need::BINDFS, Need::AUTOCONF, Need::CC, Need::LIBC];
const CPYTHON: [Need; 5] = [Need::Programs, Need::FUSE, Need::BINDFS, Need::PYTHON, Need::PYTHON_TESTS];
const FSX: [Need; 3] = [Need::Programs, Need::FUSE, Need::Fsx];
const SQLITE: [Need; 3] = [Need::Programs, Need::FUSE, Need::PYTHON];
const LMDB: [Need; 5] = [Need::Programs, Need::FUSE, Need::PYTHON, Need::VENV, Need::PyLmdb];

const C_LIBRARY: [Need; 5] = [Need::CC, Need::LIBC, Need::PKG_CONFIG, Need::CMAKE, Need::MAKE];
const C_LIBRARY_BY_CARGO_C: [Need; 7] =
    [Need::CargoC, Need::SSL, Need::CC, Need::LIBC, Need::PKG_CONFIG, Need::CMAKE, Need::MAKE];
const RUST_SOURCES: [Need; 3] = [Need::RUSTC, Need::CARGO, Need::RUST_SOURCES];
pub(crate) const WINDOWS: [Need; 8] = [
    Need::RUSTC,
    Need::CARGO,
    Need::RUST_SOURCES,
    Need::MINGW,
    Need::WINE,
    Need::AUTOCONF,
    Need::CMAKE,
    Need::MAKE,
];
const GDBM: [Need; 6] = [Need::RUSTC, Need::CARGO, Need::RUST_SOURCES, Need::MINGW, Need::WINE, Need::MAKE];

/// The stages of the whole test, in the order in which they are run: the quick and basic ones first.
pub(crate) const STAGES: &[Stage] = &[
    stage("unit", "the workspace's own tests", &[Need::FUSE], unit::tests),
    stage("loom", "models of collect-and-re-arm against concurrent stores", &[], unit::loom),
    stage("conformance-native", "the clauses against the kernel's own mmap", &[], conformance::native),
    stage(
        "conformance",
        "the clauses under mapback, on disk and on direct_io",
        &MOUNTS,
        conformance::clauses,
    ),
    stage("faults", "storage that fails, and what is written to it", &MOUNTS, conformance::faults),
    stage("sharing-native", "one file in several processes, by the kernel's own mmap", &[], sharing::native),
    stage("sharing", "one file in several processes under mapback", &MOUNTS, sharing::sharing),
    stage("kills", "processes that share a file are killed at any moment", &MOUNTS, sharing::kills),
    stage("hostile", "what others may do in the directory of images", &[Need::Programs], sharing::hostile),
    stage(
        "model",
        "random calls under mapback against the kernel's mmap",
        &[Need::Programs],
        conformance::model,
    ),
    stage("ac-func-mmap", "Autoconf's own program, natively and under mapback", &AUTOCONF, ac_func_mmap::run),
    stage("cpython", "CPython's own test_mmap, natively and under mapback", &CPYTHON, cpython::run),
    stage("miri", "what has no system call, under Miri", &[], miri::run),
    stage("msrv", "the oldest Rust that is promised", &[], msrv::run),
    stage("memmap2-users", "crates that use memmap2, with mapback in its place", &[], memmap2_users::run),
    stage("fsx", "random operations on a file, checked by fsx, under mapback", &FSX, fsx::run),
    stage(
        "fsx-many",
        "random operations of four processes on one file",
        &[Need::Programs, Need::FUSE],
        fsx_many::run,
    ),
    stage("sqlite", "SQLite in WAL mode, one writer and two reader processes", &SQLITE, sqlite::run),
    stage("lmdb", "LMDB with writemap and map_async, and py-lmdb's own tests", &LMDB, lmdb::run),
    stage("c-library", "the C library, installed, and C programs that use it", &C_LIBRARY, c_library::run),
    stage("windows", "the Windows library under Wine", &WINDOWS, windows::run),
    stage("windows-gdbm", "GDBM's own tests with the Windows library under Wine", &GDBM, windows::gdbm),
    stage("targets", "systems that must at least compile", &RUST_SOURCES, windows::targets),
];

/// Stages that are run where they are asked for by name only: they take too long to be run with each change.
pub(crate) const BY_NAME: &[Stage] = &[
    stage(
        "windows-whole",
        "`windows`, with more sequences and crowds for longer",
        &WINDOWS,
        windows::run_whole,
    ),
    stage("windows-gdbm-whole", "`windows-gdbm`, with each tracker", &GDBM, windows::gdbm_whole),
    stage(
        "c-library-by-cargo-c",
        "`c-library`, built and installed by cargo-c",
        &C_LIBRARY_BY_CARGO_C,
        c_library::run_by_cargo_c,
    ),
];

/// The trackers to test. Those that this kernel cannot serve are reported as skipped.
fn trackers(ctx: &Ctx, report: &mut Report) -> Vec<Tracker> {
    let mut usable = Vec::new();
    for (tracker, missing) in &ctx.trackers {
        match missing {
            None => usable.push(*tracker),
            Some(why) => report.skip(tracker.name(), why),
        }
    }
    usable
}
