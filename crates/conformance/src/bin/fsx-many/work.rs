//! One of the processes that work on the file.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::hands::Hands;
use crate::plan::{FILE, KILLED, Plan, ReadBy, WORKERS};

/// Does this process's part, and ends it in this process's way.
pub fn work(dir: &Path, plan: &Plan, worker: usize) -> Result<(), String> {
    let trace = std::env::var_os("FSX_MANY_TRACE").is_some();
    let mut hands = Hands::new(&dir.join(FILE))?;
    let mut content = plan.initial();
    barrier()?;
    for phase in 0..plan.phases {
        for (n, op) in plan.operations(worker, phase).enumerate() {
            if trace {
                eprintln!("worker {worker}, phase {phase}, operation {n}: {op:?}");
            }
            let at = |why| format!("phase {phase}, operation {n}, {op:?}: {why}");
            op.apply(&mut content);
            hands.act(&op, &content).map_err(at)?;
        }
        barrier()?;
        others(plan, worker, phase, &mut content);
        look(&hands, &content).map_err(|why| format!("after all operations of phase {phase}: {why}"))?;
        barrier()?;
        let size = plan.size(phase + 1);
        if phase as usize % WORKERS == worker {
            hands.resize(size)?;
        }
        content.resize(size, 0);
        barrier()?;
        look(&hands, &content).map_err(|why| format!("with the new size after phase {phase}: {why}"))?;
        // The next phase's stores may begin only when everybody has looked.
        barrier()?;
    }
    // Stores alone, which nobody flushes but the end of the process.
    plan.last_stores(worker).try_for_each(|op| hands.act(&op, &[]))?;
    barrier()?;
    end(worker, hands)
}

/// Adds what the other processes did.
fn others(plan: &Plan, worker: usize, phase: u32, content: &mut [u8]) {
    for other in (0..WORKERS).filter(|other| *other != worker) {
        plan.operations(other, phase).for_each(|op| op.apply(content));
    }
}

/// Looks at the whole file, by each way there is.
fn look(hands: &Hands, content: &[u8]) -> Result<(), String> {
    use ReadBy::{LongMap, NewMap, Pread, PrivateMap};
    [LongMap, Pread, NewMap, PrivateMap].into_iter().try_for_each(|by| hands.compare_all(content, by))
}

/// Each process goes another way.
fn end(worker: usize, hands: Hands) -> Result<(), String> {
    match worker {
        // SAFETY: the process kills itself, which is what is wanted.
        KILLED => unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        },
        // SAFETY: ends the process at once, with nothing unmapped and nothing flushed.
        1 => unsafe { libc::_exit(0) },
        // By return, with the map left to the end of the process
        2 => hands.leak(),
        // By return, with everything unmapped
        _ => {}
    }
    Ok(())
}

/// Tells the lead that this process is there, and waits for its word to go on.
fn barrier() -> Result<(), String> {
    let mut stdout = io::stdout();
    stdout
        .write_all(b".")
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("the lead is gone: {error}"))?;
    io::stdin().read_exact(&mut [0]).map_err(|error| format!("the lead is gone: {error}"))
}
