//! The first store to a page after a flush.

use criterion::{BenchmarkId, Criterion};
use mapback_bench::{Contender, Face, file, respawn};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const LEN: u64 = 64 << 20;

/// Every fourth page: neighbours share folios, so that each folio of the kernel's is met.
const STRIDE: usize = 4;

fn first_store(c: &mut Criterion, contender: Contender) {
    let file = file::make(contender, Path::new("/var/tmp"), LEN).expect("room in /var/tmp");
    let face = Face::of(contender);
    let map = face.map(&file).expect("a map");
    face.check().expect("the contender itself");
    map.read_all();
    let mut group = c.benchmark_group("first store after a flush");
    group.sample_size(10).warm_up_time(Duration::from_millis(500));
    group.bench_function(BenchmarkId::from_parameter(contender), |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            let mut left = iterations as usize;
            while left > 0 {
                let pages = left.min(map.pages() / STRIDE);
                map.sync(libc::MS_SYNC).expect("a flush");
                let start = Instant::now();
                (0..pages).for_each(|nth| map.store(nth * STRIDE));
                took += start.elapsed();
                left -= pages;
            }
            took
        });
    });
    group.finish();
}

fn main() -> ExitCode {
    respawn::each(|contender| {
        let mut criterion = Criterion::default().configure_from_args();
        first_store(&mut criterion, contender);
        criterion.final_summary();
    })
}
