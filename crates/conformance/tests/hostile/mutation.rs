//! Ways of spoiling a file, drawn at random.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What was done, for whoever has to find out why that mattered.
#[derive(Debug)]
#[allow(dead_code)] // the fields are for Debug
pub enum Mutation {
    Flip(Vec<(usize, u8)>),
    Truncate(u64),
    Extend(u64),
    Fill(usize, usize, u8),
    Random(usize, usize),
    Remove,
}

impl Mutation {
    /// Spoils the file at `path`; whoever has it open has the same file afterwards.
    pub fn of(random: &mut fastrand::Rng, path: &Path) -> Mutation {
        let content = fs::read(path).unwrap_or_default();
        let len = content.len().max(1);
        // What matters most comes first in such files.
        let mut at = || if random.bool() { random.usize(0..len.min(256)) } else { random.usize(0..len) };
        let (from, many) = (at(), [(); 8].map(|()| at()));
        match random.u8(0..16) {
            0..9 => {
                let flips = random.usize(1..=many.len());
                Mutation::Flip(many[..flips].iter().map(|at| (*at, 1 << random.u8(0..8))).collect())
            }
            9..11 => Mutation::Truncate(random.u64(0..len as u64)),
            11 => Mutation::Extend(len as u64 + random.u64(1..100_000)),
            12 => Mutation::Fill(from, random.usize(1..300), if random.bool() { 0 } else { 0xff }),
            13..15 => Mutation::Random(from, random.usize(1..300)),
            _ => Mutation::Remove,
        }
    }

    /// Does it.
    pub fn apply(&self, path: &Path) {
        if let Mutation::Remove = self {
            let _ = fs::remove_file(path);
            return;
        }
        // It may be gone: whoever found it spoilt has cleared it away.
        let Ok(file) = File::options().read(true).write(true).open(path) else { return };
        let write = |at: usize, bytes: &[u8]| file.write_all_at(bytes, at as u64).expect("spoiling");
        match self {
            Mutation::Flip(flips) => {
                for &(at, bit) in flips {
                    let mut byte = [0];
                    let _ = file.read_at(&mut byte, at as u64);
                    write(at, &[byte[0] ^ bit]);
                }
            }
            Mutation::Truncate(len) | Mutation::Extend(len) => file.set_len(*len).expect("spoiling"),
            Mutation::Fill(at, len, byte) => write(*at, &vec![*byte; *len]),
            Mutation::Random(at, len) => {
                let mut bytes = vec![0; *len];
                fastrand::Rng::with_seed(*at as u64).fill(&mut bytes);
                write(*at, &bytes);
            }
            Mutation::Remove => {}
        }
    }
}
