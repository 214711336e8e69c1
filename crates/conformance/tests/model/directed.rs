//! Sequences written by hand: each check of the model is shown to see what it is for.

use crate::arena::{self, PAGE};
use crate::op::{Fd, MapFlags, MoveFlags, Op, Place, Prot, Size, SyncFlags};
use crate::run::{self, Plan};
use crate::sabotage::{Saboteur, Wrong};
use crate::side::{Kernel, Libc};
use libc::{MAP_FIXED, MAP_SHARED, MREMAP_MAYMOVE, MS_SYNC, PROT_READ, PROT_WRITE};

const FILE: usize = 2 * PAGE + 100;

fn page(page: usize) -> Place {
    Place { island: None, page, byte: 0, mapped: false }
}

/// Three pages at the arena's start, of a file of 2 pages and 100 bytes.
fn map() -> Op {
    Op::Mmap {
        at: Some(page(0)),
        len: Size(3 * PAGE),
        prot: Prot(PROT_READ | PROT_WRITE),
        flags: MapFlags(MAP_SHARED | MAP_FIXED),
        fd: Fd::ReadWrite,
        offset: Size(0),
        fresh: true,
    }
}

fn store(at: Place, len: usize) -> Op {
    Op::Store { at, len: Size(len), value: 200 }
}

/// Who never writes back is found at each moment at which the changes must be in the file.
#[test]
fn a_skipped_write_back_is_seen_at_every_moment() {
    let _alone = arena::alone();
    let moments = [
        (Op::Msync { at: page(1), len: Size(1), flags: SyncFlags(MS_SYNC) }, "in the range of msync"),
        (Op::Munmap { at: page(1), len: Size(PAGE) }, "after munmap"),
        (Op::Fsync { fd: Fd::ReadOnly }, "after the flush"),
        (anonymous(), "after its map was replaced"),
        (
            Op::Mremap {
                at: page(0),
                old: Size(3 * PAGE),
                new: Size(PAGE),
                flags: MoveFlags(MREMAP_MAYMOVE),
                to: page(0),
            },
            "after mremap",
        ),
        (Op::Unlink, "after everything was unmapped"),
    ];
    for (moment, expected) in moments {
        // An odd number of operations: nothing reads the file before the end.
        let ops = [map(), store(page(1), 1), moment];
        let seen = run::one(&Plan::fixed(), &mut Saboteur::new(Wrong::SkipsWriteBack), FILE, &ops);
        assert!(seen.as_ref().is_err_and(|why| why.contains(expected)), "{expected}: {seen:?}");
        assert_eq!(run::one(&Plan::fixed(), &mut Kernel, FILE, &ops), Ok(()), "{expected}");
    }
}

/// P11 and I3: what is stored past the end is not in the file that grows later, nor in the map then.
#[test]
fn a_store_past_the_end_of_file_is_not_in_the_file_that_grows() {
    let _alone = arena::alone();
    let tail = Place { byte: 90, ..page(2) };
    let sync = Op::Msync { at: page(0), len: Size(3 * PAGE), flags: SyncFlags(MS_SYNC) };
    let grow = Op::Ftruncate { fd: Fd::ReadWrite, size: Size(3 * PAGE) };
    let ops = [map(), store(tail, 60), sync.clone(), grow, sync, Op::Load { at: tail, len: Size(60) }];
    assert_eq!(run::one(&Plan::from_environment(), &mut Libc, FILE, &ops), Ok(()));
}

/// An anonymous map over the whole of `map`.
fn anonymous() -> Op {
    let Op::Mmap { at, len, prot, offset, .. } = map() else { unreachable!("map() is a mmap") };
    let flags = MapFlags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | MAP_FIXED);
    Op::Mmap { at, len, prot, flags, fd: Fd::Bad, offset, fresh: false }
}
