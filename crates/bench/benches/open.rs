//! `mmap` and `munmap` of a small file, untouched and with one page changed.

use criterion::{BenchmarkId, Criterion};
use mapback_bench::{Contender, Face, file, respawn};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const LEN: u64 = 64 << 10;

fn opens(c: &mut Criterion, contender: Contender) {
    let file = file::make(contender, Path::new("/var/tmp"), LEN).expect("room in /var/tmp");
    let face = Face::of(contender);
    {
        let _map = face.map(&file).expect("a map");
        face.check().expect("the contender itself");
    }
    for (name, change) in [("mmap+munmap of 64 KiB", false), ("mmap+store+munmap of 64 KiB", true)] {
        let mut group = c.benchmark_group(name);
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        group.bench_function(BenchmarkId::from_parameter(contender), |b| {
            b.iter(|| {
                let map = face.map(&file).expect("a map");
                if change {
                    map.store(3);
                }
            });
        });
        group.finish();
    }
}

fn main() -> ExitCode {
    respawn::each(|contender| {
        let mut criterion = Criterion::default().configure_from_args();
        opens(&mut criterion, contender);
        criterion.final_summary();
    })
}
