//! `msync`: of a clean map, of one with 1 % of its pages changed, of one page.

use criterion::{BenchmarkId, Criterion};
use mapback_bench::{Contender, Face, Map, file, respawn};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const LEN: u64 = 64 << 20;

/// Every hundredth page is changed.
const STRIDE: usize = 100;

fn syncs(c: &mut Criterion, contender: Contender, map: &Map<'_>) {
    let mut bench = |name: &str, change: &dyn Fn(), sync: &dyn Fn()| {
        let mut group = c.benchmark_group(name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(3));
        group.bench_function(BenchmarkId::from_parameter(contender), |b| {
            b.iter_custom(|iterations| {
                let timed = |_| {
                    change();
                    let start = Instant::now();
                    sync();
                    start.elapsed()
                };
                (0..iterations).map(timed).sum()
            });
        });
        group.finish();
    };
    let all = || map.sync(libc::MS_SYNC).expect("a flush");
    let collect = || map.sync(libc::MS_ASYNC).expect("a flush");
    let few = || (0..map.pages()).step_by(STRIDE).for_each(|page| map.store(page));
    bench("msync of a clean map", &|| (), &all);
    bench("msync without waiting, 1 % changed", &few, &collect);
    bench("msync, 1 % changed", &few, &all);
    bench("msync of one page", &|| map.store(7), &|| map.sync_page(7).expect("a flush"));
}

fn main() -> ExitCode {
    respawn::each(|contender| {
        let file = file::make(contender, Path::new("/var/tmp"), LEN).expect("room in /var/tmp");
        let face = Face::of(contender);
        let map = face.map(&file).expect("a map");
        face.check().expect("the contender itself");
        map.read_all();
        map.sync(libc::MS_SYNC).expect("a flush");
        let mut criterion = Criterion::default().configure_from_args();
        syncs(&mut criterion, contender, &map);
        criterion.final_summary();
    })
}
