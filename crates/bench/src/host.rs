//! The machine: what it is, and making it ready.

use crate::device::{Device, file_system};
use crate::tables::size;
use anyhow::Result;
use mapback_bench::Contender;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// What figures depend on.
#[derive(Debug, Serialize)]
pub(crate) struct System {
    pub(crate) kernel: String,
    pub(crate) machine: String,
    pub(crate) processors: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) file_system: String,
    /// Whether what reaches the device can be counted.
    pub(crate) device_counters: bool,
    /// Processes that were busy before this run began, over the last minute.
    pub(crate) load_average: f64,
}

/// Looks at the machine.
pub(crate) fn describe(dir: &Path) -> Result<System> {
    let uname = rustix::system::uname();
    Ok(System {
        kernel: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory("MemTotal:"),
        device_counters: Device::under(dir)?.is_some(),
        file_system: file_system(dir).unwrap_or_else(|| "unknown".into()),
        load_average: load_average().unwrap_or(f64::NAN),
    })
}

fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Memory that can be had without swapping, in bytes.
pub(crate) fn available_memory() -> u64 {
    memory("MemAvailable:")
}

fn memory(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

/// Touches memory once, so that its first use does not fall into a measurement.
pub(crate) fn touch_memory(bytes: u64) {
    let mut memory = vec![0u8; bytes as usize];
    for byte in memory.iter_mut().step_by(rustix::param::page_size()) {
        *byte = 1;
    }
    std::hint::black_box(&memory);
}

/// Says so if the contenders' files of `bytes` each and their images will not fit.
pub(crate) fn warn_about_memory(contenders: &[Contender], bytes: u64) {
    let copies: u64 = contenders
        .iter()
        .map(|c| match c {
            Contender::KernelLarge | Contender::KernelSmall => 1,
            // The image and the file in the page cache; a pristine copy.
            Contender::Mapback(mapback::TrackerKind::Compare) => 3,
            Contender::Mapback(_) => 2,
        })
        .sum();
    let (need, have) = (copies * bytes, available_memory());
    if need > have {
        eprintln!(
            "warning: this takes about {} of memory and {} are available: figures will show the disk. \
             Choose a smaller --size.",
            size(need),
            size(have)
        );
    }
}
