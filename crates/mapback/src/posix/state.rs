//! What the space's lock protects, and the steps that the calls are made of.

use super::registry;
use super::table::{Map, MapTable};
use super::trackers::Trackers;
use crate::image::{AHEAD, Image, Locked};
use crate::page;
use crate::stats::FileStats;
use crate::sys::Errno;
use crate::sys::os::{self, file::FileId, mem, pagemap, signal::Blocked};
use crate::track::TrackerKind;
use core::ops::Range;
use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A part of a map, as it was when an operation began.
pub(super) type Part = (Range<usize>, Map);

/// Maps, images and trackers.
#[derive(Debug)]
pub(super) struct State {
    pub(super) maps: MapTable,
    pub(super) images: BTreeMap<FileId, Arc<Image>>,
    pub(super) trackers: Trackers,
    /// Images that other processes have, of files that this one has no map of but reads or writes.
    pub(super) visited: BTreeMap<FileId, Arc<Image>>,
    /// Signals stay blocked from before a fork until after it.
    pub(super) over_fork: Option<Blocked>,
    /// Counters of images that are gone.
    finished: BTreeMap<PathBuf, FileStats>,
    /// The tracker that a file's maps had last.
    tracked_by: BTreeMap<PathBuf, TrackerKind>,
}

impl State {
    pub(super) fn new(tracker: Option<TrackerKind>) -> State {
        State {
            maps: MapTable::default(),
            images: BTreeMap::new(),
            visited: BTreeMap::new(),
            trackers: Trackers::new(tracker),
            over_fork: None,
            finished: BTreeMap::new(),
            tracked_by: BTreeMap::new(),
        }
    }

    /// The part of a map that trackers watch.
    pub(super) fn tracked(range: &Range<usize>, map: &Map) -> Range<usize> {
        map.showing(range, &(0..map.armed), os::page_size())
    }

    /// Begins to track a part that is, or shall be, writable; sets its protection.
    pub(super) fn arm(&mut self, range: &Range<usize>, map: &mut Map) -> Result<(), Errno> {
        map.image.begin_comparing(&map.bytes(range))?;
        map.image.set_owes(true)?;
        map.armed = armed_for(map.image.len());
        let kind = self.trackers.arm(&Self::tracked(range, map), map.prot)?;
        map.tracker = Some(kind);
        self.tracked_by.insert(map.image.name.clone(), kind);
        Ok(())
    }

    /// Makes every change of a file's range known to its image, through whichever map it was made.
    pub(super) fn collect(&mut self, image: &Arc<Image>, bytes: &Range<u64>) {
        let page = os::page_size();
        self.catch_up(image);
        let mut group: Vec<Part> = Vec::new();
        for (range, map) in self.maps.of(image) {
            let part = Self::tracked(&map.showing(&range, bytes, page), &map);
            if map.tracker.is_none() || part.is_empty() {
                continue;
            }
            // Neighbours are asked about together: a program may have thousands of small maps of one file.
            let joins = |(last, before): &Part| last.end == part.start && before.tracker == map.tracker;
            if !group.last().is_some_and(joins) {
                self.collect_group(&group);
                group.clear();
            }
            group.push((part, map));
        }
        self.collect_group(&group);
    }

    /// Follows a change of the length that another process made. Should arming fail, `whole` tracks what is new.
    fn catch_up(&mut self, image: &Arc<Image>) {
        if image.shared_len() != image.len() {
            drop(image.lock());
            let _ = self.arm_up_to(image, image.len());
        }
    }

    fn collect_group(&mut self, group: &[Part]) {
        let (Some((first, map)), Some((last, _))) = (group.first(), group.last()) else { return };
        let Some(kind) = map.tracker else { return };
        let all = first.start..last.end;
        let lost = self.trackers.collect(kind, &all, &mut |run| mark_in(group, &run)).is_err();
        if lost {
            // Never lose, at worst write too much. Armed before it is marked and so read (I2).
            for (part, map) in group {
                let mut map = map.clone();
                map.tracker = Some(self.trackers.arm(part, map.prot).unwrap_or(TrackerKind::Whole));
                map.image.mark(map.bytes(part));
                self.maps.insert(part.clone(), map);
            }
        }
    }

    /// Makes parts unwritable and collects their changes for the last time. They stay readable, since with the kernel a
    /// reader beside `MAP_FIXED` sees the old or the new map, never none; but not where `mremap` will want one map.
    pub(super) fn retire(&mut self, parts: &[Part], readable: bool) {
        for (range, map) in parts {
            let Some(kind) = map.tracker else { continue };
            let part = Self::tracked(range, map);
            if part.is_empty() {
                continue;
            }
            self.catch_up(&map.image);
            let mark = |run: Range<usize>| map.image.mark(map.bytes(&run));
            let last = if readable { map.prot & !mem::PROT_WRITE } else { 0 };
            if self.trackers.retire(kind, &part, last, &mut { mark }).is_err() {
                mark(part);
            }
        }
    }

    /// Undoes [`State::retire`] when the operation that it was for did not happen.
    pub(super) fn restore(&mut self, parts: &[Part]) {
        for (range, map) in parts {
            let mut map = map.clone();
            if !mem::is_mapped(range) {
                // The kernel may have unmapped what it then could not replace.
                self.maps.remove(range);
            } else if map.tracker.is_some() {
                if self.arm(range, &mut map).is_err() {
                    map.tracker = Some(TrackerKind::Whole);
                }
                let rest = Self::tracked(range, &map).end.max(range.start)..range.end;
                // SAFETY: a part of a map of ours, which `mremap` may have protected too.
                let _ = unsafe { mem::protect(rest, map.prot) };
                self.maps.insert(range.clone(), map);
            }
        }
    }

    /// Enters a new part into the table and tracks it if it is a writable shared one. The kernel has mapped it
    /// with the desired protection.
    pub(super) fn enter_part(&mut self, range: Range<usize>, mut map: Map) -> Result<(), Errno> {
        let armed = if map.shared && (map.prot & mem::PROT_WRITE != 0 || map.tracker.is_some()) {
            self.arm(&range, &mut map)
        } else {
            Ok(())
        };
        if armed.is_ok() {
            self.maps.insert(range, map);
        }
        armed
    }

    /// Counts the pages of a map as changed that other threads touched before it was tracked: what it took the place of
    /// was in use. A page that was stored to is still in the page table, unless it was swapped out within these two calls.
    pub(super) fn count_touched(&self, range: &Range<usize>) {
        for (part, map) in self.maps.overlapping(range) {
            // `compare` copied what was there before, and `whole` counts every page.
            if !matches!(map.tracker, Some(TrackerKind::WpAsync | TrackerKind::Fault)) {
                continue;
            }
            let part = Self::tracked(&part, &map);
            let mark = |run: Range<usize>| map.image.mark(map.bytes(&run));
            if pagemap::present(&part, &mut { mark }).is_err() {
                mark(part);
            }
        }
    }

    /// Follows the file to a new length, in memory and in all maps. What becomes accessible is tracked before it can
    /// be touched; what is cut off stays tracked, and is there to be stored to when the file grows again.
    pub(super) fn resize(
        &mut self,
        image: &Arc<Image>,
        locked: &mut Locked<'_>,
        len: u64,
    ) -> Result<(), Errno> {
        self.arm_up_to(image, len)?;
        image.follow_file(locked, len)
    }

    /// Tracks all maps of an image up to a length of the file.
    fn arm_up_to(&mut self, image: &Arc<Image>, len: u64) -> Result<(), Errno> {
        let page = os::page_size();
        for (range, mut map) in self.maps.of(image) {
            if map.tracker.is_none() || page::ceil64(len, page) <= map.armed {
                continue;
            }
            let new = map.showing(&range, &(map.armed..armed_for(len)), page);
            if new.is_empty() {
                continue;
            }
            let kind = self.trackers.arm(&new, map.prot)?;
            let same = map.tracker == Some(kind);
            map.tracker = Some(kind);
            map.armed = armed_for(len);
            self.maps.insert(if same { range } else { new }, map);
        }
        Ok(())
    }

    /// Lets go of an image that nobody maps or uses any more, once all is written back.
    pub(super) fn release(&mut self, image: Arc<Image>) {
        let unused = image.mapped.load(Ordering::Relaxed) == 0 && image.pins.load(Ordering::Relaxed) == 0;
        if !unused || !image.is_clean() {
            return;
        }
        if self.images.get(&image.id).is_some_and(|i| Arc::ptr_eq(i, &image)) {
            self.images.remove(&image.id);
            if image.leave() {
                registry::remove(&image.id);
            }
            let stats = self.stats_of(&image);
            self.finished.entry(image.name.clone()).or_insert_with(|| Self::named(&image)).add(&stats);
        }
    }

    fn named(image: &Image) -> FileStats {
        FileStats { path: image.name.clone(), ..FileStats::default() }
    }

    fn stats_of(&self, image: &Image) -> FileStats {
        let tracker = self.tracked_by.get(&image.name).map_or(String::new(), ToString::to_string);
        FileStats { path: image.name.clone(), tracker, ..image.counters.read() }
    }

    /// What was done for each file so far.
    pub(super) fn stats(&self) -> Vec<FileStats> {
        let mut all = self.finished.clone();
        for image in self.images.values() {
            let stats = self.stats_of(image);
            all.entry(image.name.clone()).or_insert_with(|| Self::named(image)).add(&stats);
        }
        all.into_values().filter(|s| !s.is_empty()).collect()
    }

    /// Begins to count anew, in a forked child.
    pub(super) fn reset_stats(&mut self) {
        self.finished.clear();
        self.images.values().for_each(|image| image.counters.reset());
    }
}

/// Up to which file offset maps of a file of some length are tracked.
fn armed_for(len: u64) -> u64 {
    page::ceil64(len, os::page_size()).saturating_add(AHEAD)
}

/// Marks a run of addresses in the image of each part that it lies in; the parts are in order.
fn mark_in(parts: &[Part], run: &Range<usize>) {
    let from = parts.partition_point(|(part, _)| part.end <= run.start);
    for (part, map) in parts[from..].iter().take_while(|(part, _)| part.start < run.end) {
        map.image.mark(map.bytes(&page::common(part, run)));
    }
}
