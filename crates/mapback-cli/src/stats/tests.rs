//! Merging and showing of given lines.

use super::*;

const LINES: &str = r#"{"pid":7,"program":"python3","files":[{"path":"/d/b.db","tracker":"wp-async","maps":2,"bytes_loaded":1048576,"pages_changed":3,"runs":2,"bytes_written":12288,"load_ns":1500000,"write_back_ns":250000},{"path":"/d/a.db","tracker":"fault","maps":1,"bytes_loaded":10,"pages_changed":0,"runs":0,"bytes_written":0,"load_ns":900,"write_back_ns":0}]}
{"pid":8,"program":"python3","files":[{"path":"/d/b.db","tracker":"fault","maps":1,"bytes_loaded":1048576,"pages_changed":1,"runs":1,"bytes_written":4096,"load_ns":500000,"write_back_ns":50000,"later":"field"}]}
"#;

fn subject(end: End) -> Subject<'static> {
    Subject { path: Path::new("/usr/bin/python3"), pid: 7, end, unreachable: None }
}

fn plain(report: &Report) -> String {
    anstream::adapter::strip_str(&table(report)).to_string()
}

#[test]
fn lines_are_merged_per_file() {
    let report = Report::new(LINES.as_bytes(), &subject(End::Exited(0)));
    assert_eq!(
        plain(&report),
        "\
mapback: 2 files in 2 of 2 processes
  maps   loaded  pages changed  runs   written    load  write-back  tracker         file
     1     10 B              0     0       0 B  900 ns           0  fault           /d/a.db
     3  2.0 MiB              4     3  16.0 KiB  2.0 ms    300.0 µs  fault+wp-async  /d/b.db
"
    );
}

#[test]
fn json_is_one_document() {
    let report = Report::new(LINES.as_bytes(), &subject(End::Exited(0)));
    let text = json(&report);
    assert_eq!(text.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["files"][1]["path"], "/d/b.db");
    assert_eq!(value["files"][1]["processes"], 2);
    assert_eq!(value["files"][1]["bytes_written"], 16384);
    assert_eq!(value["files"][1]["trackers"], serde_json::json!(["fault", "wp-async"]));
    assert_eq!(value["processes"][1]["pid"], 8);
    assert_eq!(value["missing"], serde_json::json!([]));
}

#[test]
fn a_program_without_a_line_is_mentioned() {
    let killed = Subject { pid: 9, ..subject(End::Killed(9)) };
    let report = Report::new(LINES.as_bytes(), &killed);
    assert!(
        plain(&report).ends_with(
            "mapback: /usr/bin/python3 (process 9) told nothing: SIGKILL ended it before it could\n"
        )
    );
    let report =
        Report::new(b"", &Subject { unreachable: Some("is statically linked"), ..subject(End::Exited(0)) });
    assert_eq!(
        plain(&report),
        "mapback: no file map was served in 0 processes\n\
         mapback: /usr/bin/python3 (process 7) told nothing: it is statically linked\n"
    );
}

#[test]
fn a_torn_or_odd_line_costs_only_itself() {
    let mut lines = LINES.as_bytes().to_vec();
    lines.extend_from_slice(b"{\"pid\":9,\"prog");
    let report = Report::new(&lines, &subject(End::Exited(0)));
    assert_eq!(report.files.len(), 2);
    assert_eq!(report.missing, ["1 line(s) of statistics could not be read"]);
    let report = Report::new(b"{\"pid\":7,\"program\":\"x\xff\"}\n", &subject(End::Exited(0)));
    assert_eq!((report.processes.len(), report.missing.len()), (1, 0));
}
