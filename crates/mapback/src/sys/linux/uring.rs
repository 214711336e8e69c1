//! A batch of positioned writes through an io_uring that lives for one call.
//!
//! No request is ever in flight after the call: [`Batch`] waits in its `drop`, if need be without the kernel's
//! `io_uring_enter`. The maps of the ring keep it alive even if somebody closes its descriptor.
//!
//! But should the process be killed, its requests go on for as long as the device takes, and its locks would be let go
//! before: whoever waited for them could then write a page that an older request overwrites. So the ring has the files
//! registered on whose descriptions these locks are. It lasts until the last request is done, and so do they.

use super::fd::Private;
use super::mem;
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use rustix::io::Errno;
use rustix::io_uring as ring;
use rustix::io_uring::{IoringEnterFlags, IoringFeatureFlags, IoringOp, IoringRegisterOp};

mod helper;

/// What the kernel writes at most in one call (`MAX_RW_COUNT` for pages of 4 KiB); more is cut short.
const MAX_LEN: usize = 0x7fff_f000;
/// More in flight than this gains nothing and asks for much memory.
const MAX_DEPTH: u32 = 4096;
/// The kernel has `IORING_OP_WRITE` (Linux 5.6: older ones would answer EINVAL for each write, just like a
/// file that does not take it), loses no answer, and has both queues in one map.
const NEEDED: IoringFeatureFlags =
    IoringFeatureFlags::RW_CUR_POS.union(IoringFeatureFlags::NODROP).union(IoringFeatureFlags::SINGLE_MMAP);

/// One write of a batch.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) from: *const u8,
    pub(crate) len: usize,
    pub(crate) off: u64,
    /// What the kernel answered. `None`: not tried, or put off (`EAGAIN`, `EINTR`): nothing was written, and
    /// an ordinary `pwrite` is the thing to do.
    pub(crate) done: Option<Result<usize, Errno>>,
}

/// Writes a batch, up to `depth` at a time. Each entry gets its own answer; short writes are answers, not
/// errors. Entries may be written in any order. As with `pwrite`, an `O_APPEND` descriptor ignores offsets.
///
/// A helper thread makes the ring and ends with the call: see [`helper`] for why.
///
/// `keep`: files whose locks outlive the process, should it be killed, until no request is in flight.
///
/// # Safety
/// Each `from` must be readable for `len` bytes until the call returns.
///
/// # Errors
/// No ring could be had (`ENOSYS`, `EPERM`, `ENOMEM`, `EMFILE`, `EAGAIN`); then nothing was written.
pub(crate) unsafe fn write_batch(
    fd: BorrowedFd<'_>,
    keep: &[BorrowedFd<'_>],
    depth: u32,
    writes: &mut [Write],
) -> Result<(), Errno> {
    if writes.is_empty() {
        return Ok(());
    }
    let mut answer = Ok(());
    // SAFETY: the caller vouches for the memory; `run` returns only when nothing is in flight.
    helper::run(&mut || answer = unsafe { Batch::new(fd, keep, depth, writes) }.and_then(|mut b| b.run()))?;
    answer
}

/// Memory that the kernel shares with us.
struct Map {
    addr: usize,
    len: usize,
}

impl Map {
    fn new(fd: RawFd, len: usize, off: u64) -> Result<Map, Errno> {
        const MAP_POPULATE: i32 = 0x8000;
        let prot = mem::PROT_READ | mem::PROT_WRITE;
        // SAFETY: the kernel chooses an address that is free.
        let addr = unsafe { mem::mmap(0, len, prot, mem::MAP_SHARED | MAP_POPULATE, fd, off as i64) }?;
        let map = Map { addr, len };
        // SAFETY: our own map; a child forked meanwhile has no use for it.
        unsafe { mem::madvise(addr, len, mem::advice::DONTFORK) }?;
        Ok(map)
    }

    /// # Panics
    /// If entry `index` of a table of `T` at `off` is not in the map.
    fn at<T>(&self, off: u32, index: u32) -> *mut T {
        let at = off as usize + index as usize * size_of::<T>();
        assert!(at + size_of::<T>() <= self.len, "the kernel's io_uring offsets fit its own map");
        (self.addr + at) as *mut T
    }

    /// The head or tail of a queue.
    fn counter(&self, off: u32) -> &AtomicU32 {
        // SAFETY: `at` is in the map, which lives as long as `self`; the kernel puts an aligned u32 there and,
        // as we do, accesses it atomically.
        unsafe { AtomicU32::from_ptr(self.at(off, 0)) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: ours, and no reference into it outlives `self`.
        let _ = unsafe { mem::munmap(self.addr, self.len) };
    }
}

/// A private ring. Entry `n` of the submission queue is always table entry `n`.
struct Ring {
    queues: Map,
    entries: Map,
    fd: Private,
    params: ring::io_uring_params,
}

impl Ring {
    fn new(depth: u32) -> Result<Ring, Errno> {
        // No flags: none made a measurable difference, and with DEFER_TASKRUN `Batch` could not wait without
        // `io_uring_enter`.
        let mut params = ring::io_uring_params::default();
        // SAFETY: without ATTACH_WQ `params` has no requirement.
        let fd = Private::new(unsafe { ring::io_uring_setup(depth, &mut params) }?);
        if !params.features.contains(NEEDED) {
            return Err(Errno::NOSYS);
        }
        let raw = fd.as_fd().as_raw_fd();
        let (sq, cq) = (params.sq_off.array, params.cq_off.cqes);
        let sq_end = sq as usize + params.sq_entries as usize * size_of::<u32>();
        let cq_end = cq as usize + params.cq_entries as usize * size_of::<ring::io_uring_cqe>();
        let queues = Map::new(raw, sq_end.max(cq_end), ring::IORING_OFF_SQ_RING)?;
        let table = params.sq_entries as usize * size_of::<ring::io_uring_sqe>();
        let entries = Map::new(raw, table, ring::IORING_OFF_SQES)?;
        for n in 0..params.sq_entries {
            // SAFETY: in the map; the kernel does not look before the tail says so.
            unsafe { queues.at::<u32>(sq, n).write(n) };
        }
        Ok(Ring { queues, entries, fd, params })
    }

    /// Holds on to files for as long as the ring lasts.
    fn keep(&self, files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let files: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        if files.is_empty() {
            return Ok(());
        }
        let op = IoringRegisterOp::RegisterFiles;
        // SAFETY: an array of so many descriptors, which the kernel copies.
        unsafe { ring::io_uring_register(&self.fd, op, files.as_ptr().cast(), files.len() as u32) }.map(drop)
    }

    /// Ends [`Ring::keep`] at once: the ring itself is taken down some time after it is closed.
    fn let_go(&self) {
        let op = IoringRegisterOp::UnregisterFiles;
        // SAFETY: the operation has no argument. Without registered files it is an error that changes nothing.
        let _ = unsafe { ring::io_uring_register(&self.fd, op, core::ptr::null(), 0) };
    }

    /// How many submissions the kernel has taken so far: each gives exactly one answer.
    fn taken(&self) -> u32 {
        self.queues.counter(self.params.sq_off.head).load(Ordering::Acquire)
    }

    /// Queues an entry. The queue must not be full.
    fn push(&self, tail: u32, sqe: ring::io_uring_sqe) {
        let slot = self.entries.at(0, tail & (self.params.sq_entries - 1));
        // SAFETY: in the map; the slot is not the kernel's as long as the tail does not include it, and it has
        // copied what was there before (`taken` has passed it).
        unsafe { core::ptr::write(slot, sqe) };
        self.queues.counter(self.params.sq_off.tail).store(tail.wrapping_add(1), Ordering::Release);
    }

    /// The answer number `head`, if there is one: which entry, and what.
    fn pop(&self, head: u32) -> Option<(u64, i32)> {
        let off = &self.params.cq_off;
        if self.queues.counter(off.tail).load(Ordering::Acquire) == head {
            return None;
        }
        let cqe: *const ring::io_uring_cqe = self.queues.at(off.cqes, head & (self.params.cq_entries - 1));
        // SAFETY: in the map; the kernel has written it (the tail says so) and waits for the head to pass it.
        let answer = unsafe { ((*cqe).user_data.u64_(), (*cqe).res) };
        self.queues.counter(off.head).store(head.wrapping_add(1), Ordering::Release);
        Some(answer)
    }

    fn enter(&self, submit: u32, wait: u32) -> Result<(), Errno> {
        // SAFETY: whoever queued the entries vouches for what they point to; no EXT_ARG.
        unsafe { ring::io_uring_enter(&self.fd, submit, wait, IoringEnterFlags::GETEVENTS) }.map(drop)
    }
}

/// The writes that are under way.
struct Batch<'a> {
    ring: Ring,
    fd: RawFd,
    depth: u32,
    writes: &'a mut [Write],
    /// The first of `writes` that is not queued.
    next: usize,
    /// Entries queued so far, as the ring counts: modulo 2³².
    queued: u32,
    /// Answers read so far.
    answered: u32,
}

impl<'a> Batch<'a> {
    /// # Safety
    /// The memory of `writes` must be readable until the batch is dropped.
    unsafe fn new(
        fd: BorrowedFd<'_>,
        keep: &[BorrowedFd<'_>],
        depth: u32,
        writes: &'a mut [Write],
    ) -> Result<Batch<'a>, Errno> {
        let most = u32::try_from(writes.len()).unwrap_or(MAX_DEPTH).min(MAX_DEPTH);
        let depth = depth.min(most).max(1);
        let ring = Ring::new(depth)?;
        ring.keep(keep)?;
        Ok(Batch { ring, fd: fd.as_raw_fd(), depth, writes, next: 0, queued: 0, answered: 0 })
    }

    /// # Errors
    /// Only when the kernel took nothing at all.
    fn run(&mut self) -> Result<(), Errno> {
        loop {
            self.fill();
            let open = self.queued.wrapping_sub(self.answered);
            if open == 0 {
                return Ok(());
            }
            let wait = if self.next == self.writes.len() { open } else { open.div_ceil(2) };
            let unsubmitted = self.queued.wrapping_sub(self.ring.taken());
            let mut entered = self.ring.enter(unsubmitted, wait);
            if matches!(entered, Err(Errno::AGAIN | Errno::BUSY)) && self.in_flight() > 0 {
                // Short of memory for more: what is in flight will give some back.
                entered = self.ring.enter(0, 1);
            }
            self.read_answers();
            match entered {
                Ok(()) | Err(Errno::INTR) => {}
                Err(e) if self.ring.taken() == 0 => return Err(e),
                // Those not taken stay `None`; `drop` waits for the others.
                Err(_) => return Ok(()),
            }
        }
    }

    /// Taken by the kernel and not answered.
    fn in_flight(&self) -> u32 {
        self.ring.taken().wrapping_sub(self.answered)
    }

    /// Queues entries until `depth` are open.
    fn fill(&mut self) {
        while self.queued.wrapping_sub(self.answered) < self.depth
            && let Some(write) = self.writes.get_mut(self.next)
        {
            // The ring would take −1 for the descriptor's current offset.
            if i64::try_from(write.off).is_err() {
                write.done = Some(Err(Errno::INVAL));
            } else {
                self.ring.push(self.queued, request(self.fd, self.next, write));
                self.queued = self.queued.wrapping_add(1);
            }
            self.next += 1;
        }
    }

    fn read_answers(&mut self) {
        while let Some((index, result)) = self.ring.pop(self.answered) {
            self.answered = self.answered.wrapping_add(1);
            if let Some(write) = self.writes.get_mut(index as usize) {
                write.done = answer(result);
            }
        }
    }
}

impl Drop for Batch<'_> {
    /// Waits for what is in flight. After a failed `io_uring_enter` that call is of no use, but the kernel
    /// posts answers of its own accord, at the latest when a system call of this thread returns.
    fn drop(&mut self) {
        self.read_answers();
        while self.in_flight() > 0 {
            let moment = rustix::thread::Timespec { tv_sec: 0, tv_nsec: 100_000 };
            let _ = rustix::thread::nanosleep(&moment);
            self.read_answers();
        }
        self.ring.let_go();
    }
}

/// The submission for entry `index`.
fn request(fd: RawFd, index: usize, write: &Write) -> ring::io_uring_sqe {
    let from = ring::io_uring_ptr::new(write.from.cast_mut().cast());
    ring::io_uring_sqe {
        opcode: IoringOp::Write,
        fd,
        off_or_addr2: ring::off_or_addr2_union { off: write.off },
        addr_or_splice_off_in: ring::addr_or_splice_off_in_union { addr: from },
        len: ring::len_union { len: write.len.min(MAX_LEN) as u32 },
        user_data: (index as u64).into(),
        ..Default::default()
    }
}

/// What a completion says of its write.
fn answer(result: i32) -> Option<Result<usize, Errno>> {
    match usize::try_from(result) {
        Ok(n) => Some(Ok(n)),
        Err(_) => match Errno::from_raw_os_error(-result) {
            // Older kernels do not hand a descriptor with O_NONBLOCK to a worker that may wait.
            Errno::AGAIN | Errno::INTR => None,
            e => Some(Err(e)),
        },
    }
}

#[cfg(test)]
mod tests;
