//! A program that was written for memmap2 0.9, with another `use` and without `unsafe`.

use super::Fixture;
use mapback::{Mmap, MmapMut, MmapOptions, MmapRaw, RemapOptions};
use std::io::Write;
use std::ops::{Deref, DerefMut};

#[test]
fn constructors_and_methods_have_memmap2s_names_and_signatures() -> std::io::Result<()> {
    let fixture = Fixture::new(&[0; 8192]);
    let file = fixture.open();
    let mmap: Mmap = MmapOptions::new().offset(4096).len(10).populate().no_reserve_swap().map(&file)?;
    #[cfg(target_os = "linux")]
    mmap.advise(mapback::Advice::Sequential)?;
    assert_eq!(mmap.deref().len(), 10);
    let _ = mmap.as_ref().as_ptr();
    let mut map: MmapMut = MmapMut::map_mut(&file)?;
    (&mut map[..]).write_all(b"written")?;
    map.deref_mut()[7] = b'!';
    map.as_mut()[8] = b'?';
    map.flush()?;
    map.flush_async()?;
    map.flush_range(0, 10)?;
    map.flush_async_range(0, 10)?;
    map.remap(4096, RemapOptions::new().may_move(true))?;
    let mmap: Mmap = map.make_read_only()?;
    let map: MmapMut = mmap.make_mut()?;
    let _: Mmap = map.make_exec()?;
    let raw: MmapRaw = MmapOptions::new().map_raw(&file)?;
    assert!(!raw.as_mut_ptr().is_null() && raw.as_ptr() == raw.as_mut_ptr() && raw.len() == 8192);
    raw.flush()?;
    let raw: MmapRaw = Mmap::map(&file)?.into();
    assert!(format!("{raw:?}").starts_with("MmapRaw { ptr: 0x"));
    let _ = MmapOptions::new().map_raw_read_only(&file)?;
    let _ = MmapOptions::new().map_exec(&file)?;
    let anon: MmapMut = MmapOptions::new().len(100).stack().huge(Some(21)).map_anon()?;
    assert_eq!(anon.len(), 100);
    #[allow(unused_unsafe)]
    // SAFETY: none is needed. Whoever leaves the block in place gets a warning, no error.
    let _ = unsafe { Mmap::map(&file)? };
    assert_eq!(fixture.content()[..9], *b"written!?");
    Ok(())
}

#[test]
fn raw_maps_are_written_back_while_threads_store() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    for options in super::each_tracker() {
        let file = Fixture::new(&[0; 64 << 10]);
        let map = options.map_raw(file.open()).unwrap();
        // SAFETY: aligned, inside the map, and reached by atomics only.
        let words: Vec<&AtomicU64> = (0..8)
            .map(|nth| unsafe { AtomicU64::from_ptr(map.as_mut_ptr().add(nth * 8192).cast()) })
            .collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for word in &words {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        word.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for nth in 0..50 {
                if nth % 2 == 0 { map.flush() } else { map.flush_atomic() }.unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let last: Vec<u64> = words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        drop(map);
        let content = file.content();
        for (nth, last) in last.iter().enumerate() {
            let found = u64::from_ne_bytes(content[nth * 8192..nth * 8192 + 8].try_into().unwrap());
            assert_eq!(found, *last, "{options:?}, word {nth}");
        }
    }
}
