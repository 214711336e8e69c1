//! What sequences are made of. Most operations are such that they can succeed; a part of every argument is not.

use crate::arena::{PAGE, STARTS};
use crate::op::{Fd, MapFlags, MoveFlags, Op, Place, Prot, Size, SyncFlags};
use libc::{
    FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, MADV_DODUMP, MADV_DOFORK, MADV_DONTDUMP,
    MADV_DONTFORK, MADV_DONTNEED, MADV_FREE, MADV_NORMAL, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
    MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_WIPEONFORK, MAP_ANONYMOUS, MAP_FIXED,
    MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_HUGETLB, MAP_LOCKED, MAP_NONBLOCK, MAP_NORESERVE, MAP_POPULATE,
    MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_STACK, MAP_SYNC, MREMAP_DONTUNMAP, MREMAP_FIXED,
    MREMAP_MAYMOVE, MS_ASYNC, MS_INVALIDATE, MS_SYNC, PROT_EXEC, PROT_READ, PROT_WRITE,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// The pages of the file when a sequence starts, at most.
pub const FILE_PAGES: usize = 10;
/// Lengths that end past the top of the address space, whatever the start.
const WRAPPING: [usize; 4] = [usize::MAX, usize::MAX - PAGE + 1, usize::MAX - PAGE, usize::MAX - 0xffff];
/// Longer than any address space, without wrapping.
const HUGE: [usize; 2] = [1 << 62, isize::MAX as usize];

/// A sequence: the file's size at its start, and what is done.
pub fn sequence() -> impl Strategy<Value = (usize, Vec<Op>)> {
    (file_size(), vec(good_mmap(), 0..4), vec(op(), 1..40)).prop_map(|(size, mut ops, more)| {
        ops.extend(more);
        unlock_beside_dontunmap(&mut ops);
        (size, ops)
    })
}

/// Left out: locked pages in a sequence with `MREMAP_DONTUNMAP`. The kernel then unlocks the whole of what is one map
/// to *it*, not the range moved; where it has merged or split, which nobody specifies, shows in EBUSY later.
fn unlock_beside_dontunmap(ops: &mut Vec<Op>) {
    if !ops.iter().any(|op| matches!(op, Op::Mremap { flags, .. } if flags.0 & MREMAP_DONTUNMAP != 0)) {
        return;
    }
    ops.retain(|op| !matches!(op, Op::Mlock { .. }));
    for op in ops {
        if let Op::Mmap { flags, .. } = op {
            flags.0 &= !MAP_LOCKED;
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        24 => mmap().boxed(),
        5 => (place(), length()).prop_map(|(at, len)| Op::Munmap { at, len }).boxed(),
        8 => (place(), length(), protection()).prop_map(|(at, len, prot)| Op::Mprotect { at, len, prot }).boxed(),
        8 => (place(), length(), sync_flags()).prop_map(|(at, len, flags)| Op::Msync { at, len, flags }).boxed(),
        5 => mremap().boxed(),
        4 => (place(), length(), advice()).prop_map(|(at, len, advice)| Op::Madvise { at, len, advice }).boxed(),
        3 => locking().boxed(),
        30 => access().boxed(),
        18 => file().boxed(),
    ]
}

fn access() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (byte_place(), short(), any::<u8>()).prop_map(|(at, len, value)| Op::Store { at, len, value }),
        2 => (byte_place(), any::<u64>()).prop_map(|(at, value)| Op::Store8 { at, value }),
        8 => (byte_place(), run()).prop_map(|(at, len)| Op::Load { at, len }),
        2 => byte_place().prop_map(|at| Op::Load8 { at }),
        3 => (byte_place(), byte_place(), run()).prop_map(|(from, to, len)| Op::Copy { from, to, len }),
        2 => (byte_place(), run()).prop_map(|(at, len)| Op::PreadInto { at, len }),
        2 => (byte_place(), run()).prop_map(|(at, len)| Op::PwriteFrom { at, len }),
    ]
}

fn file() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (fd(), file_size()).prop_map(|(fd, size)| Op::Ftruncate { fd, size: Size(size) }),
        1 => (fd(), bad_size()).prop_map(|(fd, size)| Op::Ftruncate { fd, size }),
        5 => (fd(), run(), position()).prop_map(|(fd, len, offset)| Op::Pread { fd, len, offset }),
        6 => (fd(), run(), position(), any::<u8>())
            .prop_map(|(fd, len, offset, value)| Op::Pwrite { fd, len, offset, value }),
        1 => file_size().prop_map(|size| Op::Truncate { size: Size(size) }),
        3 => (fd(), fallocate_mode(), position(), run())
            .prop_map(|(fd, mode, offset, len)| Op::Fallocate { fd, mode, offset, len }),
        2 => (fd(), run(), position()).prop_map(|(fd, len, offset)| Op::Preadv { fd, len, offset }),
        2 => (fd(), run(), position(), any::<u8>())
            .prop_map(|(fd, len, offset, value)| Op::Pwritev { fd, len, offset, value }),
        1 => (fd(), run(), position()).prop_map(|(fd, len, offset)| Op::CopyIn { fd, len, offset }),
        1 => (fd(), run(), position()).prop_map(|(fd, len, offset)| Op::CopyOut { fd, len, offset }),
        2 => (fd(), run()).prop_map(|(fd, len)| Op::Read { fd, len }),
        2 => (fd(), run(), any::<u8>()).prop_map(|(fd, len, value)| Op::Write { fd, len, value }),
        2 => (fd(), position(), 0..3i32).prop_map(|(fd, offset, whence)| Op::Lseek { fd, offset, whence }),
        1 => fd().prop_map(|fd| Op::Fsync { fd }),
        1 => fd().prop_map(|fd| Op::Fdatasync { fd }),
        3 => (fd(), prop::bool::weighted(0.1)).prop_map(|(fd, truncate)| Op::Reopen { fd, truncate }),
        1 => Just(Op::Unlink),
    ]
}

/// A map that succeeds, so that the operations after it find something.
fn good_mmap() -> impl Strategy<Value = Op> {
    (0..STARTS, 1..9usize, 0..FILE_PAGES / 2, any::<bool>()).prop_map(|(page, len, offset, fresh)| Op::Mmap {
        at: Some(Place { island: None, page, byte: 0, mapped: false }),
        len: Size(len * PAGE),
        prot: Prot(PROT_READ | PROT_WRITE),
        flags: MapFlags(MAP_SHARED | MAP_FIXED),
        fd: Fd::ReadWrite,
        offset: Size(offset * PAGE),
        fresh,
    })
}

fn mmap() -> impl Strategy<Value = Op> {
    let at = prop_oneof![9 => place().prop_map(Some), 1 => Just(None)];
    let offset = prop_oneof![
        20 => (0..FILE_PAGES / 2).prop_map(|page| Size(page * PAGE)),
        6 => (0..FILE_PAGES + 2).prop_map(|page| Size(page * PAGE)),
        1 => (1..PAGE).prop_map(Size),
        1 => select(vec![i64::MAX as usize & !(PAGE - 1), (PAGE).wrapping_neg(), 1 << 62]).prop_map(Size),
    ];
    let len = prop_oneof![40 => length(), 1 => select(HUGE.to_vec()).prop_map(Size)];
    (at, len, protection(), map_flags(), fd(), offset, any::<bool>()).prop_map(
        |(at, len, prot, flags, fd, offset, fresh)| Op::Mmap { at, len, prot, flags, fd, offset, fresh },
    )
}

fn mremap() -> impl Strategy<Value = Op> {
    let new = prop_oneof![30 => length(), 1 => select(HUGE.to_vec()).prop_map(Size)];
    let flags = prop_oneof![
        6 => Just(MREMAP_MAYMOVE),
        4 => Just(0),
        5 => Just(MREMAP_MAYMOVE | MREMAP_FIXED),
        1 => Just(MREMAP_MAYMOVE | MREMAP_DONTUNMAP),
        1 => select(vec![MREMAP_FIXED, 64, MREMAP_DONTUNMAP, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP]),
    ];
    (place(), length(), new, flags, place()).prop_map(|(at, old, new, flags, to)| Op::Mremap {
        at,
        old,
        new,
        flags: MoveFlags(flags),
        to,
    })
}

fn locking() -> impl Strategy<Value = Op> {
    prop_oneof![
        (place(), length()).prop_map(|(at, len)| Op::Mincore { at, len }),
        (place(), length()).prop_map(|(at, len)| Op::Mlock { at, len }),
        (place(), length()).prop_map(|(at, len)| Op::Munlock { at, len }),
    ]
}

/// A page-aligned place, mostly.
fn place() -> impl Strategy<Value = Place> {
    let byte = prop_oneof![40 => Just(0usize), 1 => 1..PAGE];
    (island(), 0..STARTS, byte, any::<bool>()).prop_map(|(island, page, byte, mapped)| Place {
        island,
        page,
        byte,
        mapped,
    })
}

/// Any byte, most often near a page's ends.
fn byte_place() -> impl Strategy<Value = Place> {
    let byte = prop_oneof![Just(0usize), PAGE - 9..PAGE, 0..PAGE];
    (island(), 0..STARTS, byte, prop::bool::weighted(0.8)).prop_map(|(island, page, byte, mapped)| Place {
        island,
        page,
        byte,
        mapped,
    })
}

fn island() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![6 => Just(None), 1 => (0..4u8).prop_map(Some)]
}

/// The length of a range of maps.
fn length() -> impl Strategy<Value = Size> {
    prop_oneof![
        24 => (1..9usize).prop_map(|pages| Size(pages * PAGE)),
        8 => (1..8 * PAGE).prop_map(Size),
        2 => (9..17usize).prop_map(|pages| Size(pages * PAGE)),
        1 => Just(Size(0)),
        1 => select(WRAPPING.to_vec()).prop_map(Size),
    ]
}

/// The length of a store.
fn short() -> impl Strategy<Value = Size> {
    prop_oneof![4 => 1..20usize, 1 => 20..2 * PAGE].prop_map(Size)
}

/// The length of a load, a copy, a read or a write.
fn run() -> impl Strategy<Value = Size> {
    prop_oneof![8 => 1..300usize, 6 => 300..3 * PAGE, 1 => Just(0), 2 => Just(12 * PAGE)].prop_map(Size)
}

fn file_size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..=FILE_PAGES * PAGE,
        4 => FILE_PAGES / 2 * PAGE..=FILE_PAGES * PAGE,
        3 => (0..=FILE_PAGES).prop_map(|pages| pages * PAGE),
        1 => (0..=FILE_PAGES, 1..9usize).prop_map(|(pages, more)| pages * PAGE + more),
    ]
}

fn bad_size() -> impl Strategy<Value = Size> {
    select(vec![usize::MAX, PAGE.wrapping_neg(), i64::MAX as usize]).prop_map(Size)
}

fn fallocate_mode() -> impl Strategy<Value = i32> {
    prop_oneof![
        3 => select(vec![0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE]),
        1 => select(vec![FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_PUNCH_HOLE, -1]),
    ]
}

/// An offset for reads and writes.
fn position() -> impl Strategy<Value = Size> {
    prop_oneof![
        12 => (0..(FILE_PAGES + 2) * PAGE).prop_map(Size),
        6 => (0..FILE_PAGES + 2).prop_map(|page| Size(page * PAGE)),
        1 => Just(Size(usize::MAX)),
    ]
}

fn fd() -> impl Strategy<Value = Fd> {
    prop_oneof![
        14 => Just(Fd::ReadWrite),
        3 => Just(Fd::ReadOnly),
        1 => Just(Fd::WriteOnly),
        3 => Just(Fd::Append),
        1 => select(vec![Fd::Bad, Fd::Directory]),
    ]
}

fn protection() -> impl Strategy<Value = Prot> {
    prop_oneof![
        12 => Just(PROT_READ | PROT_WRITE),
        4 => Just(PROT_READ),
        1 => Just(0),
        1 => Just(PROT_WRITE),
        1 => 0..=PROT_READ | PROT_WRITE | PROT_EXEC,
        1 => select(vec![8, 0x10, 0x40 | PROT_READ]),
    ]
    .prop_map(Prot)
}

fn map_flags() -> impl Strategy<Value = MapFlags> {
    let kind = prop_oneof![
        14 => Just(MAP_SHARED),
        5 => Just(MAP_PRIVATE),
        1 => Just(MAP_SHARED_VALIDATE),
        1 => select(vec![MAP_SHARED | MAP_ANONYMOUS, MAP_PRIVATE | MAP_ANONYMOUS]),
        1 => select(vec![0, 4, 0xf]),
    ];
    let placing = prop_oneof![8 => Just(MAP_FIXED), 4 => Just(0), 2 => Just(MAP_FIXED_NOREPLACE)];
    let rest = prop_oneof![
        16 => Just(0),
        3 => select(vec![MAP_POPULATE, MAP_POPULATE | MAP_NONBLOCK, MAP_NORESERVE, MAP_STACK, MAP_LOCKED]),
        1 => select(vec![MAP_SYNC, MAP_GROWSDOWN, MAP_HUGETLB, 1 << 26, i32::MIN]),
    ];
    (kind, placing, rest).prop_map(|(kind, placing, rest)| MapFlags(kind | placing | rest))
}

fn sync_flags() -> impl Strategy<Value = SyncFlags> {
    prop_oneof![
        6 => Just(MS_SYNC),
        2 => Just(MS_ASYNC),
        2 => 0..=MS_ASYNC | MS_SYNC | MS_INVALIDATE,
        1 => select(vec![8, MS_SYNC | 16, -1]),
    ]
    .prop_map(SyncFlags)
}

fn advice() -> impl Strategy<Value = i32> {
    prop_oneof![
        6 => Just(MADV_DONTNEED),
        2 => Just(MADV_WILLNEED),
        4 => select(vec![
            MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_DONTFORK, MADV_DOFORK, MADV_DONTDUMP, MADV_DODUMP,
            MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_FREE, MADV_WIPEONFORK,
        ]),
        1 => select(vec![-1, 999]),
    ]
}
