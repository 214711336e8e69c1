//! What the system offers, and so which tracker is used.

use std::env;

use mapback::probe::{self, Capabilities};
use mapback::{Errno, TrackerKind};

use super::report::{Section, Verdict};
use crate::args::meaning;
use crate::preload;

/// Below this, changing scattered pages soon runs into the limit: the kernel's default.
const USUAL_MAP_COUNT: u64 = 65530;

/// Asks the system.
pub fn look() -> Section {
    let mut section = Section::new("System");
    let found = probe::capabilities();
    section.add(Verdict::Note, format!("Linux {}, pages of {} bytes", found.kernel, found.page_size));
    memory(&mut section, &found);
    userfaultfd(&mut section, &found);
    map_count(&mut section, found.max_map_count);
    trackers(&mut section);
    match preload::locate() {
        // A temporary copy is gone already: its path would mislead.
        Ok(library) if library.is_temporary() => {
            section.add(Verdict::Yes, "interposer: unpacked to a temporary folder for each run");
        }
        Ok(library) => section.add(Verdict::Yes, format!("interposer: {}", library.path().display())),
        Err(failure) => section.add(Verdict::Obstacle, failure.to_string()),
    }
    section
}

fn memory(section: &mut Section, found: &Capabilities) {
    match found.memfd {
        Ok(()) => section.add(Verdict::Yes, "memory files (memfd_create)"),
        Err(error) => section.advise(
            Verdict::Obstacle,
            format!("memory files (memfd_create): {error}"),
            "mapback keeps files' content in them: have the sandbox or container allow memfd_create",
        ),
    }
}

fn userfaultfd(section: &mut Section, found: &Capabilities) {
    match found.userfaultfd {
        Ok(_) => section.add(Verdict::Yes, "userfaultfd for faults of user mode"),
        Err(error) => section.advise(
            Verdict::No,
            format!("userfaultfd for faults of user mode: {error}"),
            if error == Errno::NOSYS {
                "a kernel with CONFIG_USERFAULTFD has it; a sandbox may hide it, too"
            } else {
                "have the sandbox or container allow the system call userfaultfd (it needs no privilege)"
            },
        ),
    }
    let features = [
        (found.wp_async, "asynchronous write protection (WP_ASYNC)", "Linux 6.7"),
        (found.wp_unpopulated, "write protection of pages not there yet (WP_UNPOPULATED)", "Linux 6.4"),
        (found.wp_shmem, "write protection of shared memory (WP_HUGETLBFS_SHMEM)", "Linux 5.19"),
        (found.pagemap_scan.is_ok(), "finding changed pages in one call (PAGEMAP_SCAN)", "Linux 6.7"),
    ];
    for (there, what, since) in features {
        match there {
            true => section.add(Verdict::Yes, what),
            // The advice on userfaultfd itself, above, comes first.
            false if found.userfaultfd.is_err() && !what.contains("PAGEMAP") => {
                section.add(Verdict::No, what)
            }
            false => section.advise(Verdict::No, what, format!("{since} and later have it")),
        }
    }
}

fn map_count(section: &mut Section, count: Option<u64>) {
    match count {
        Some(count) if count < USUAL_MAP_COUNT => section.advise(
            Verdict::No,
            format!("at most {count} maps per process (vm.max_map_count): few for the fault tracker"),
            format!("sysctl -w vm.max_map_count={USUAL_MAP_COUNT}"),
        ),
        Some(count) => {
            section.add(Verdict::Yes, format!("up to {count} maps per process (vm.max_map_count)"))
        }
        None => section.add(Verdict::Note, "vm.max_map_count could not be read"),
    }
}

/// Each tracker is tried by making one.
fn trackers(section: &mut Section) {
    for kind in TrackerKind::ALL {
        match probe::try_tracker(kind) {
            Ok(()) => section.add(Verdict::Yes, format!("tracker {kind}: {}", meaning(kind))),
            Err(error) => section.add(Verdict::No, format!("tracker {kind}: {error}")),
        }
    }
    let preferred = probe::preferred_tracker();
    let why = match preferred {
        TrackerKind::WpAsync | TrackerKind::WriteWatch => "the cheapest, and this system has all it needs",
        TrackerKind::Fault => "this system lacks something that wp-async needs, see above",
        TrackerKind::Compare | TrackerKind::Whole => "nothing better works here",
    };
    match env::var("MAPBACK_TRACKER").map(|name| (name.parse::<TrackerKind>(), name)) {
        Ok((Ok(forced), _)) => {
            section.add(Verdict::Note, format!("{forced} will be used, because MAPBACK_TRACKER asks for it"));
        }
        Ok((Err(unknown), name)) if !name.is_empty() => {
            section.advise(Verdict::Obstacle, format!("MAPBACK_TRACKER: {unknown}"), "unset MAPBACK_TRACKER");
        }
        _ => section.add(Verdict::Note, format!("{preferred} will be used: {why}")),
    }
}
