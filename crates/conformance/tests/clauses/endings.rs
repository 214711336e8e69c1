//! W7: what is stored is in the file after `exit`, and after `main` returned with threads running.

use mapback_conformance::process::Ended;
use mapback_conformance::{Map, TestFile, page, split_process};

/// Runs `end` in a process of its own, which has stored into a map; says what the file then holds.
macro_rules! after {
    ($end:expr) => {{
        let Some(ended) = split_process!() else {
            let file =
                TestFile::at(&mapback_conformance::process::scratch().join("file"), &vec![1; 2 * page()]);
            let map = Map::shared(&file, 2 * page());
            map.set(page(), 0x77);
            let end: fn(&Map) = $end;
            end(&map);
            std::mem::forget((map, file));
            return;
        };
        stored(&ended)
    }};
}

fn stored(ended: &Ended) -> u8 {
    std::fs::read(ended.scratch().join("file")).expect("the file that the process made")[page()]
}

fn storing_threads(map: &Map) {
    let addr = map.addr();
    for _ in 0..4 {
        std::thread::spawn(move || {
            let mut value = 0u8;
            loop {
                value = value.wrapping_add(1);
                mapback_conformance::map::set(addr + 100, value);
                let _ = mapback_conformance::calls::msync(addr, page(), libc::MS_ASYNC);
            }
        });
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
}

#[test]
fn w07_exit() {
    // SAFETY: ends the process.
    assert_eq!(after!(|_| unsafe { libc::exit(0) }), 0x77);
}

#[test]
fn w07_exit_while_threads_store_and_sync() {
    assert_eq!(
        after!(|map| {
            storing_threads(map);
            // SAFETY: ends the process.
            unsafe { libc::exit(0) }
        }),
        0x77
    );
}

#[test]
fn w07_return_from_main_with_threads_running() {
    assert_eq!(after!(storing_threads), 0x77);
}
