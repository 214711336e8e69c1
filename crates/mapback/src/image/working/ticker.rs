//! Write-back every so often, by a thread that all maps of the process share.

use super::{Depth, Working};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

/// A map to be flushed.
struct Due {
    map: Weak<Working>,
    every: Duration,
    next: Instant,
}

struct Ticker {
    due: Mutex<(Vec<Due>, bool)>,
    changed: Condvar,
}

static TICKER: Ticker = Ticker { due: Mutex::new((Vec::new(), false)), changed: Condvar::new() };

/// Flushes a map every so often as long as it lives. It has to be live.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn flush_every(map: Weak<Working>, every: Duration) -> io::Result<()> {
    let mut due = TICKER.lock();
    if !due.1 {
        thread::Builder::new().name("mapback-flush".into()).spawn(|| TICKER.run())?;
        due.1 = true;
    }
    due.0.push(Due { map, every, next: after(Instant::now(), every) });
    drop(due);
    TICKER.changed.notify_one();
    Ok(())
}

/// A moment that may be later than a clock can tell.
fn after(now: Instant, every: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now + every.min(NEVER)
}

fn flush(map: Arc<Working>) {
    let all = 0..map.memory().1;
    if let Err(error) = map.flush(all, Depth::Synced) {
        tracing::warn!(%error, "a map could not be flushed; the next flush tries again");
    }
}

impl Ticker {
    fn lock(&self) -> MutexGuard<'_, (Vec<Due>, bool)> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut due = self.lock();
        loop {
            let now = Instant::now();
            due.0.retain(|d| d.map.strong_count() > 0);
            let mut ready = Vec::new();
            for d in due.0.iter_mut().filter(|d| d.next <= now) {
                ready.extend(d.map.upgrade());
                d.next = after(now, d.every);
            }
            if ready.is_empty() {
                let next = due.0.iter().map(|d| d.next).min();
                let wait = next.map_or(Duration::from_secs(3600), |next| next.saturating_duration_since(now));
                let waited = self.changed.wait_timeout(due, wait);
                due = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            drop(due);
            for map in ready {
                // A store is anybody's code, and may panic: other maps are not to bear that.
                let _ = catch_unwind(AssertUnwindSafe(|| flush(map)));
            }
            due = self.lock();
        }
    }
}
