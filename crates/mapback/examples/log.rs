//! A log in a file of a fixed size, written back every half second whatever the program does.
//!
//! ```text
//! some-program | cargo run --example log -- FILE
//! ```
//!
//! The first eight bytes are the number of bytes that follow, little-endian. A log that is full begins anew.

use mapback::{MmapMut, MmapOptions};
use std::error::Error;
use std::fs::File;
use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

const SIZE: u64 = 1 << 20;
const HEAD: usize = 8;

struct Log {
    map: MmapMut,
}

impl Log {
    fn open(path: &Path) -> std::io::Result<Log> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < SIZE {
            file.set_len(SIZE)?;
        }
        let map = MmapOptions::new().flush_every(Duration::from_millis(500)).map_mut(&file)?;
        Ok(Log { map })
    }

    fn used(&self) -> usize {
        let used = u64::from_le_bytes(self.map[..HEAD].try_into().expect("eight bytes"));
        usize::try_from(used).unwrap_or(usize::MAX).min(self.map.len() - HEAD)
    }

    fn append(&mut self, line: &str) {
        let mut at = HEAD + self.used();
        if at + line.len() + 1 > self.map.len() {
            at = HEAD;
        }
        let end = (at + line.len()).min(self.map.len() - 1);
        self.map[at..end].copy_from_slice(&line.as_bytes()[..end - at]);
        self.map[end] = b'\n';
        // The length last: who reads the file meanwhile sees whole lines, or a little less.
        self.map[..HEAD].copy_from_slice(&((end + 1 - HEAD) as u64).to_le_bytes());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("name the log's file")?;
    let mut log = Log::open(Path::new(&path))?;
    for line in std::io::stdin().lock().lines() {
        log.append(&line?);
    }
    println!("{} bytes are used", log.used());
    // What the clock has not written yet, and the error if that fails.
    log.map.close()?;
    Ok(())
}
