//! Memory that the system refuses: a map that could not be changed is still the map that it was.

use super::Fixture;
use mapback::{MmapMut, MmapOptions, RemapOptions, TrackerKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::Command;

/// Which step fails, when this program is to make it fail.
const STEP: &str = "MAPBACK_TEST_REFUSED";
const LEN: usize = 64 << 20;

/// From now on no private memory becomes writable that is not yet.
fn refuse() {
    let now = getrlimit(Resource::Data);
    setrlimit(Resource::Data, Rlimit { current: Some(16 << 20), ..now }).unwrap();
}

fn fails(step: &str, map: &mut MmapMut) {
    refuse();
    match step {
        "snapshot" => assert!(map.snapshot().is_err()),
        "grow" => assert!(map.remap(2 * LEN, RemapOptions::new().may_move(true)).is_err()),
        other => panic!("{other}"),
    }
}

#[test]
fn a_map_that_could_not_be_changed_takes_stores_and_is_written_back() {
    if let Some(step) = std::env::var_os(STEP) {
        let step = step.to_str().unwrap();
        // With `fault` every first store needs memory to become writable.
        for kind in [TrackerKind::WpAsync, TrackerKind::Compare, TrackerKind::Whole] {
            let before = getrlimit(Resource::Data);
            let file = Fixture::new(&[]);
            file.open().set_len(LEN as u64).unwrap();
            let mut map = MmapOptions::new().tracker(kind).map_mut(file.open()).unwrap();
            fails(step, &mut map);
            (map[0], map[LEN - 1]) = (1, 2);
            setrlimit(Resource::Data, before).unwrap();
            map.flush().unwrap();
            let content = file.content();
            assert_eq!((content[0], content[LEN - 1]), (1, 2), "{kind}");
        }
        return;
    }
    for step in ["snapshot", "grow"] {
        let test = "refused::a_map_that_could_not_be_changed_takes_stores_and_is_written_back";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(STEP, step)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{step}: {:?}\n{text}", output.status);
    }
}
