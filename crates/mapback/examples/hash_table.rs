//! A hash table in a file, each change of which is whole or not at all, also when the power fails in the middle.
//!
//! ```text
//! cargo run --example hash_table -- FILE set KEY NUMBER
//! cargo run --example hash_table -- FILE move KEY OTHER-KEY NUMBER
//! cargo run --example hash_table -- FILE list
//! ```
//!
//! The table has a fixed number of slots of 64 bytes, searched from the key's own on.

use mapback::MmapMut;
use std::error::Error;
use std::fs::File;
use std::io;
use std::path::Path;

const SLOTS: usize = 4096;
const SLOT: usize = 64;
/// Length of the key, key, number.
const KEY: usize = SLOT - 8;

struct Table {
    map: MmapMut,
}

impl Table {
    fn open(path: &Path) -> io::Result<Table> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() == 0 {
            file.set_len((SLOTS * SLOT) as u64)?;
        }
        // If a crash left commits in the journal, they are brought into the file here.
        Ok(Table { map: MmapMut::map_mut(&file)? })
    }

    /// The slot that has the key, or the free one where it would go.
    fn find(&self, key: &str) -> Option<usize> {
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let first = (hash % SLOTS as u64) as usize;
        (0..SLOTS)
            .map(|n| (first + n) % SLOTS)
            .find(|nth| self.key(*nth).is_none_or(|found| found == key.as_bytes()))
    }

    fn key(&self, nth: usize) -> Option<&[u8]> {
        let slot = &self.map[nth * SLOT..][..KEY];
        let len = usize::from(slot[0]);
        (len > 0).then(|| &slot[1..=len.min(KEY - 1)])
    }

    fn number(&self, nth: usize) -> i64 {
        i64::from_le_bytes(self.map[nth * SLOT + KEY..][..8].try_into().expect("eight bytes"))
    }

    fn get(&self, key: &str) -> Option<i64> {
        let nth = self.find(key)?;
        self.key(nth)?;
        Some(self.number(nth))
    }

    /// Changes the table in memory. Nothing is on the disk before [`Table::commit`].
    fn set(&mut self, key: &str, number: i64) -> Result<(), Box<dyn Error>> {
        if key.is_empty() || key.len() >= KEY {
            return Err(format!("a key has 1 to {} bytes", KEY - 1).into());
        }
        let nth = self.find(key).ok_or("the table is full")?;
        let slot = &mut self.map[nth * SLOT..][..SLOT];
        slot[0] = key.len() as u8;
        slot[1..=key.len()].copy_from_slice(key.as_bytes());
        slot[KEY..].copy_from_slice(&number.to_le_bytes());
        Ok(())
    }

    /// All changes since the last commit, or none.
    fn commit(&self) -> io::Result<()> {
        self.map.flush_atomic()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        [path, "set", key, number] => {
            let mut table = Table::open(Path::new(path))?;
            table.set(key, number.parse()?)?;
            table.commit()?;
        }
        [path, "move", from, to, number] => {
            let mut table = Table::open(Path::new(path))?;
            let number: i64 = number.parse()?;
            let has = table.get(from).ok_or("there is no such key")?;
            table.set(from, has - number)?;
            let had = table.get(to).unwrap_or(0);
            if let Err(error) = table.set(to, had + number) {
                // Half of a change must not be written when the table is dropped.
                table.map.revert()?;
                return Err(error);
            }
            table.commit()?;
        }
        [path, "list"] => {
            let table = Table::open(Path::new(path))?;
            for nth in 0..SLOTS {
                if let Some(key) = table.key(nth) {
                    println!("{}\t{}", String::from_utf8_lossy(key), table.number(nth));
                }
            }
        }
        _ => return Err("usage: hash_table FILE set KEY NUMBER | move KEY OTHER-KEY NUMBER | list".into()),
    }
    Ok(())
}
