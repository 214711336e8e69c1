//! `mapback run --stats`: what processes tell is gathered, merged and shown.

mod common;

use std::fs;

use assert_cmd::assert::OutputAssertExt;
use common::*;

/// A program that appends a line as the interposer does, under its own process id.
fn tells(then: &str) -> String {
    let line = r#"{"pid":%d,"program":"sh","files":[{"path":"/data/x","tracker":"fault","maps":2,"bytes_loaded":4096,"pages_changed":1,"runs":1,"bytes_written":100,"load_ns":2000,"write_back_ns":3000}]}\n"#;
    format!("printf '{line}' $$ >>\"$MAPBACK_STATS\"; printf '{line}' 1 >>\"$MAPBACK_STATS\"; {then}")
}

#[test]
fn a_table_comes_at_the_end_on_stderr() {
    let output =
        run_sh(&["--stats", "--maps", "auto"], &tells("echo out; echo err >&2; exit 3")).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), "out\n".to_owned()));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("err\nmapback: 1 file in "), "{stderr}");
    let row = stderr.lines().find(|line| line.ends_with("/data/x")).unwrap();
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        "4 8.0 KiB 2 2 200 B 4.0 µs 6.0 µs fault /data/x".split(' ').collect::<Vec<_>>()
    );
    assert!(!stderr.contains('\x1b'), "no colours where there is no terminal: {stderr:?}");
}

#[test]
fn json_is_one_document_on_stderr() {
    let output = run_sh(&["--stats=json"], &tells("")).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(report["files"][0]["path"], "/data/x");
    assert_eq!(report["files"][0]["maps"], 4);
    assert_eq!(report["files"][0]["processes"], 2);
}

#[test]
fn a_file_gets_the_statistics_instead() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stats");
    let output = run_sh(&["--stats-file", file.to_str().unwrap()], &tells("")).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert!(fs::read_to_string(&file).unwrap().contains("/data/x"));
    run_sh(&["--stats=json", "--stats-file", file.to_str().unwrap()], &tells("")).assert().success();
    serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&file).unwrap()).unwrap();
}

#[test]
fn a_file_that_cannot_be_written_is_found_out_before_the_program_runs() {
    let output = run_sh(&["--stats-file", "/no/such/file"], "echo ran").output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(125), String::new()));
    assert!(text(&output.stderr).contains("/no/such/file"));
}

#[test]
fn the_folder_is_private_and_goes_away() {
    let output =
        run_sh(&["--stats"], "d=$(dirname $MAPBACK_STATS); stat -c '%a %u' $d; echo $d").output().unwrap();
    let stdout = text(&output.stdout);
    let (mode, folder) = stdout.trim().split_once('\n').unwrap();
    assert_eq!(mode, format!("700 {}", rustix::process::geteuid().as_raw()));
    assert!(!std::path::Path::new(folder).exists());
}

#[test]
fn a_program_killed_before_it_could_tell_is_mentioned() {
    let output = run_sh(&["--stats"], "kill -KILL $$").output().unwrap();
    assert!(text(&output.stderr).contains("SIGKILL ended it before it could"), "{}", text(&output.stderr));
}

#[test]
fn without_the_option_a_given_file_is_left_to_the_interposer() {
    let output = run_sh(&[], "echo $MAPBACK_STATS").env("MAPBACK_STATS", "/mine").output().unwrap();
    assert_eq!(first_line(&output), "/mine");
}
