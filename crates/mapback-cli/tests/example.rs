//! The README's example, on a file system that refuses shared maps: fails without mapback, works with it.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use mapback::TrackerKind;
use mapback_testkit::DirectIoMount;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The program, its table in `folder`, and what it reads.
fn example(folder: &Path) -> Vec<PathBuf> {
    let program = [PathBuf::from("python3"), project().join("examples/word_index.py")];
    let sources = ["LICENSE-APACHE", "crates/mapback-cli/src/child.rs"].map(|file| project().join(file));
    program.into_iter().chain([PathBuf::from("--dir"), folder.to_owned()]).chain(sources).collect()
}

#[test]
fn the_example_works_under_each_tracker_where_the_kernel_refuses() {
    let source = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mount = DirectIoMount::new(source.path()).unwrap();
    let command = example(mount.path());

    let native = Command::new(&command[0]).args(&command[1..]).output().unwrap();
    assert!(!native.status.success());
    assert!(text(&native.stderr).contains("No such device"), "{}", text(&native.stderr));

    for tracker in TrackerKind::ALL {
        let mut run = mapback(&["run", "--stats=json", "--tracker", tracker.name(), "--"]);
        let output = run.args(&command).output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{tracker}: {stdout}{stderr}");
        assert_eq!(stdout.matches("exactly what was counted").count(), 2, "{tracker}: {stdout}");
        let report: serde_json::Value = serde_json::from_str(&stderr).expect(&stderr);
        let file = &report["files"][0];
        assert!(file["path"].as_str().unwrap().ends_with("/words.idx"), "{report}");
        assert_eq!(file["trackers"], serde_json::json!([tracker.name()]), "{report}");
        assert!(file["bytes_written"].as_u64().unwrap() > 0, "{report}");
    }
}
