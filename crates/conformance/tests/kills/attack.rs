//! Starting writers, and killing them.

use std::io::PipeWriter;
use std::path::Path;
use std::time::Duration;

use mapback_conformance::Scene;
use mapback_conformance::scene::Run;
use mapback_conformance::writer::{Told, Writer};

use crate::plan::{Attack, Moment, Round};
use crate::tellings::Tellings;

pub struct Outcome {
    pub told: Vec<Told>,
    /// Whether somebody was killed whom no keeper saw end
    pub unkept: bool,
}

pub fn run(scene: &Scene, round: &Round, path: &Path) -> Outcome {
    let (stop, runs, tellings) = start(scene, round, path);
    match round.moment {
        Moment::AfterStart(micros) => std::thread::sleep(Duration::from_micros(micros)),
        Moment::AtWork(micros) => {
            assert!(tellings.wait_for(round.writers()), "not all writers have begun\n{}", scene.said());
            std::thread::sleep(Duration::from_micros(micros));
        }
    }
    let unkept = strike(round, runs, &tellings, stop);
    Outcome { told: tellings.end(), unkept }
}

/// Starts all; they stop when the pipe's end is dropped.
fn start(scene: &Scene, round: &Round, path: &Path) -> (PipeWriter, Vec<Run>, Tellings) {
    let (stopped, stop) = std::io::pipe().expect("a pipe");
    let (pipe, told) = std::io::pipe().expect("a pipe");
    let mut owner = 0;
    let mut runs = Vec::new();
    for &(shape, processes) in &round.groups {
        let writer = Writer {
            path: path.to_owned(),
            cells: round.cells,
            owner,
            owners: round.owners(),
            shape,
            processes,
            seed: round.seed,
        };
        let plan = serde_json::to_string(&writer).expect("a plan is plain data");
        let mut command = scene.actor_command(["write", &plan]);
        command.stdin(stopped.try_clone().expect("the pipe")).stdout(told.try_clone().expect("the pipe"));
        runs.push(Run::start(command));
        owner += processes;
    }
    (stop, runs, Tellings::listen(pipe))
}

/// Does what the round says, and waits for everybody's end. Whether somebody ended whom no keeper saw.
fn strike(round: &Round, runs: Vec<Run>, tellings: &Tellings, stop: PipeWriter) -> bool {
    let mut random = round.random();
    let mut pause = |micros: u64| std::thread::sleep(Duration::from_micros(random.u64(0..=micros)));
    match round.attack {
        Attack::Everybody => {
            for run in runs {
                run.kill_all();
                pause(500);
            }
            return true;
        }
        Attack::Keepers => {
            for run in runs {
                run.kill_alone();
                pause(5_000);
            }
            return true;
        }
        Attack::None => {}
        Attack::One => {
            kill(&victims(round, tellings, false)[..1]);
            pause(20_000);
        }
        Attack::All => kill(&victims(round, tellings, false)),
        Attack::AnyOrder => kill(&victims(round, tellings, true)),
    }
    drop(stop);
    for run in runs {
        run.finish();
    }
    round.attack == Attack::AnyOrder
}

/// The writers' processes in the order in which they are killed: any at all, or those that started others last.
fn victims(round: &Round, tellings: &Tellings, any_order: bool) -> Vec<i32> {
    // Not before all have begun: a fellow that comes later would be nobody's.
    if !tellings.wait_for(round.writers()) {
        return Vec::new();
    }
    let mut processes = tellings.processes();
    round.random().shuffle(&mut processes);
    if !any_order {
        let mut first = 0;
        let mut starters = Vec::new();
        for (_, fellows) in &round.groups {
            starters.push(first);
            first += *fellows as u32;
        }
        processes.sort_by_key(|(owner, _)| starters.contains(owner));
    }
    processes.into_iter().map(|(_, pid)| pid).collect()
}

fn kill(processes: &[i32]) {
    for &pid in processes {
        // SAFETY: sends a signal to a process of this test; what started it waits for it only after the test lets go.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}
