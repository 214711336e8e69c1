//! What brings back what nobody kept.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mapback_conformance::Scene;
use mapback_conformance::actor::{Ask, End};
use mapback_conformance::scene::Run;

use crate::plan::{Rescue, Round};

pub fn run(scene: &Scene, round: &Round, path: &Path) {
    let mut random = round.random();
    match round.rescue {
        Rescue::RecoverAll => succeed(scene, scene.recover(["--all"])),
        Rescue::RecoverFile => succeed(scene, scene.recover([path])),
        Rescue::MapAgain => map_again(scene, path),
        Rescue::KilledRecoveries(times) => {
            for _ in 0..times {
                kill_after(scene.recover(["--all"]), random.u64(0..15_000));
            }
            succeed(scene, scene.recover(["--all"]));
        }
        Rescue::KilledMaps(times) => {
            for _ in 0..times {
                // Connects to the scene's socket if it comes so far, and is not waited for.
                let plan = reader(round, path);
                kill_after(scene.actor_command(["write", &plan]), random.u64(0..20_000));
            }
            map_again(scene, path);
        }
    }
    // Whatever was done before: nothing is left to do, and that is no error.
    succeed(scene, scene.recover(["--all"]));
}

/// A writer that owns no cell worth mentioning: it has no input, so that it stops when it has mapped the file.
fn reader(round: &Round, path: &Path) -> String {
    let plan = mapback_conformance::writer::Writer {
        path: path.to_owned(),
        cells: round.cells,
        owner: round.writers(),
        owners: round.owners(),
        shape: mapback_conformance::writer::Shape::Alone,
        processes: 1,
        seed: round.seed,
    };
    serde_json::to_string(&plan).expect("a plan is plain data")
}

#[track_caller]
fn succeed(scene: &Scene, command: Command) {
    let shown = format!("{command:?}");
    let status = Run::start(command).finish();
    assert!(status.success(), "{shown}: {status}\n{}", scene.said());
}

fn kill_after(command: Command, micros: u64) {
    let run = Run::start(command);
    std::thread::sleep(Duration::from_micros(micros));
    run.kill_all();
}

/// A program that maps the file and looks at it, without a store of its own.
fn map_again(scene: &Scene, path: &Path) {
    let actor = scene.actor();
    let fd = actor.call(&Ask::Open { path: path.to_owned(), flags: libc::O_RDWR }) as i32;
    let len = std::fs::metadata(path).expect("the file").len() as usize;
    let (prot, flags) = (mapback_conformance::map::RW, libc::MAP_SHARED);
    actor.ask(&Ask::Map { fd, len, prot, flags, off: 0 });
    let status = actor.end(End::Exit);
    assert_eq!(status.code(), Some(7), "{}", scene.said());
}
