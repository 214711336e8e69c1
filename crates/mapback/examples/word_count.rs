//! Counts the lines, words and bytes of files, as `wc` does.
//!
//! ```text
//! cargo run --example word_count -- FILE...
//! ```

use mapback::Mmap;
use std::error::Error;
use std::fs::File;

fn main() -> Result<(), Box<dyn Error>> {
    let mut any = false;
    for name in std::env::args_os().skip(1) {
        let map = Mmap::map(&File::open(&name)?)?;
        let lines = map.iter().filter(|b| **b == b'\n').count();
        let words = map.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        println!("{lines:8} {words:8} {:8} {}", map.len(), name.display());
        any = true;
    }
    if any { Ok(()) } else { Err("name at least one file".into()) }
}
