//! I6: what was not changed is not written. The mount's server counts what it is asked to write.

use mapback_conformance::process::tracked_as_whole;
use mapback_conformance::{Map, page, split_under_mapback};

use crate::Faulty;

#[test]
fn i6_only_what_changed_is_written() {
    if let Some(ended) = split_under_mapback!() {
        return ended.assert_passed();
    }
    const PAGES: usize = 64;
    let counted = Faulty::new();
    let file = counted.file("file", &vec![7; PAGES * page()]);
    let map = Map::shared(&file, PAGES * page());
    let mut before = counted.written();
    let compare = std::env::var("MAPBACK_TRACKER").is_ok_and(|tracker| tracker == "compare");
    // Twice, so that pages are armed again after they were written once; reading changes nothing.
    for round in 0..2 {
        for at in [3, 4, 40] {
            map.set(at * page() + round, 1);
        }
        assert_eq!(map.bytes(0, PAGES * page()).len(), PAGES * page());
        map.sync();
        let now = counted.written();
        let wanted = match () {
            () if tracked_as_whole() => PAGES * page(),
            () if compare => 3,
            () => 3 * page(),
        };
        assert_eq!((now - before) as usize, wanted, "round {round}");
        before = now;
    }
    map.sync();
    if !tracked_as_whole() {
        assert_eq!(counted.written(), before, "nothing changed, nothing written");
    }
}
