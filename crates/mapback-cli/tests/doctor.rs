//! `mapback doctor`: says what is so.

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::assert::OutputAssertExt;
use common::*;
use mapback_testkit::DirectIoMount;

/// Status and text.
fn doctor(target: Option<&Path>) -> (i32, String) {
    let output = mapback(&["doctor"]).args(target).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    (output.status.code().unwrap(), text(&output.stdout))
}

#[track_caller]
fn assert_has(report: &str, parts: &[&str]) {
    for part in parts {
        assert!(report.contains(part), "'{part}' is missing:\n{report}");
    }
}

#[test]
fn the_system_is_described_as_the_library_sees_it() {
    let (status, report) = doctor(None);
    let found = mapback::probe::capabilities();
    assert_eq!(status, 0, "{report}");
    assert_has(
        &report,
        &[&format!("Linux {}", found.kernel), &format!("pages of {} bytes", found.page_size)],
    );
    assert_has(&report, &[&format!("{} will be used", mapback::probe::preferred_tracker()), "interposer: /"]);
    for (there, what) in [(found.wp_async, "(WP_ASYNC)"), (found.pagemap_scan.is_ok(), "(PAGEMAP_SCAN)")] {
        let line = report.lines().find(|line| line.contains(what)).unwrap();
        assert_eq!(line.trim().starts_with("yes"), there, "{line}");
    }
    assert!(!report.contains('\x1b'), "no colours where there is no terminal");
}

#[test]
fn a_forced_tracker_is_told() {
    let output = mapback(&["doctor"]).env("MAPBACK_TRACKER", "whole").output().unwrap();
    assert_has(&text(&output.stdout), &["whole will be used, because MAPBACK_TRACKER asks for it"]);
    let output = mapback(&["doctor"]).env("MAPBACK_TRACKER", "psychic").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_has(&text(&output.stdout), &["psychic", "unset MAPBACK_TRACKER"]);
}

/// A folder on a file system whose files are served, as the build's own is.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn a_file_system_that_grants_shared_maps() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "content").unwrap();
    for target in [folder.path(), &file] {
        let (status, report) = doctor(Some(target));
        assert_eq!(status, 0);
        assert_has(&report, &["the kernel grants a writable shared map", "leaves such maps to the kernel"]);
    }
    assert_eq!(fs::read(&file).unwrap(), b"content");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing stays behind");
}

#[test]
fn a_file_system_that_refuses_them() {
    let source = folder();
    fs::write(source.path().join("file"), "content").unwrap();
    let mount = DirectIoMount::new(source.path()).unwrap();
    for target in [mount.path().to_owned(), mount.path().join("file")] {
        let (status, report) = doctor(Some(&target));
        assert_eq!(status, 0, "{report}");
        assert_has(
            &report,
            &["on fuse", "mapback-directio", "refuses a writable shared map: No such device"],
        );
        assert_has(&report, &["`mapback run -- PROGRAM` serves such maps"]);
    }
    assert_eq!(fs::read_dir(source.path()).unwrap().count(), 1, "nothing stays behind");
}

#[test]
fn what_is_never_served() {
    assert_has(&doctor(Some(Path::new("/proc/version"))).1, &["on proc", "no stored bytes"]);
    assert_has(&doctor(Some(Path::new("/dev/shm"))).1, &["on tmpfs", "--include-tmpfs"]);
    assert_has(&doctor(Some(Path::new("/dev/null"))).1, &["not a regular file"]);
}

#[test]
fn programs_within_and_out_of_reach() {
    let (status, report) = doctor(Some(Path::new("env")));
    assert_eq!(status, 0);
    assert_has(&report, &["/env", "dynamically linked, and within reach"]);

    let folder = folder();
    let (status, report) = doctor(Some(&compile(folder.path(), "static", &["-static"])));
    assert_eq!(status, 1);
    assert_has(&report, &["NO", "out of reach: the program is statically linked", "→ link it dynamically"]);
}

#[test]
fn what_is_not_there_is_an_error() {
    for target in ["/no/such/file", "no-such-program"] {
        let output = mapback(&["doctor", target]).output().unwrap();
        assert!(text(&output.stderr).contains(target));
        output.assert().code(125);
    }
}
