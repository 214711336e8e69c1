//! What the writers tell, read while they write.

use std::io::{PipeReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use mapback_conformance::scene::LIMIT;
use mapback_conformance::writer::Told;

/// A thread that reads until nobody is left to tell anything.
pub struct Tellings {
    shared: Arc<(Mutex<Heard>, Condvar)>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    over: bool,
}

impl Tellings {
    pub fn listen(mut pipe: PipeReader) -> Tellings {
        let shared = Arc::new((Mutex::<Heard>::default(), Condvar::new()));
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let n = pipe.read(&mut buffer).expect("what the writers tell");
                let (heard, changed) = &*theirs;
                let mut heard = heard.lock().unwrap();
                heard.bytes.extend_from_slice(&buffer[..n]);
                heard.over = n == 0;
                changed.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        Tellings { shared, thread }
    }

    fn wait(&self, limit: Duration, done: impl Fn(&Heard) -> bool) -> bool {
        let (heard, changed) = &*self.shared;
        let heard = heard.lock().unwrap();
        let (heard, _) =
            changed.wait_timeout_while(heard, limit, |heard| !heard.over && !done(heard)).unwrap();
        done(&heard)
    }

    /// Waits until so many writers have begun; says whether they have.
    pub fn wait_for(&self, writers: u64) -> bool {
        self.wait(LIMIT, |heard| hellos(&heard.bytes).count() as u64 == writers)
    }

    /// The processes of those that have begun, by owner.
    pub fn processes(&self) -> Vec<(u32, i32)> {
        let bytes = &self.shared.0.lock().unwrap().bytes;
        hellos(bytes).map(|told| (told.owner, told.pid as i32)).collect()
    }

    /// All that was told of stores, once nobody tells any more.
    #[track_caller]
    pub fn end(self) -> Vec<Told> {
        assert!(self.wait(LIMIT, |heard| heard.over), "some writer lives on");
        self.thread.join().expect("the listening thread");
        let heard = self.shared.0.lock().unwrap();
        all(&heard.bytes).filter(|told| told.cell != Told::HELLO).collect()
    }
}

fn all(bytes: &[u8]) -> impl Iterator<Item = Told> {
    bytes.chunks_exact(Told::SIZE).map(Told::of)
}

fn hellos(bytes: &[u8]) -> impl Iterator<Item = Told> {
    all(bytes).filter(|told| told.cell == Told::HELLO)
}
