//! What is shared through memory alone: mutexes, atomics, futexes, hammering, and children made by `clone`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::answers::done;
use super::{Answer, Hammer};
use crate::calls::{self, Errno, page};
use crate::cells;
use crate::map::RW;

pub(super) fn init_mutex(addr: usize) -> Result<i32, Errno> {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    // SAFETY: the attributes are made before they are used; the test maps room for a mutex at the address.
    unsafe {
        libc::pthread_mutexattr_init(attributes.as_mut_ptr());
        libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
        match libc::pthread_mutex_init(addr as *mut _, attributes.as_ptr()) {
            0 => Ok(0),
            error => Err(Errno(error)),
        }
    }
}

pub(super) fn add_locked(mutex: usize, counter: usize, times: u32, threads: u32) -> Result<i32, Errno> {
    in_threads(threads, || {
        for _ in 0..times {
            // SAFETY: the test has had a mutex made there, and the number is changed under it only.
            unsafe {
                assert_eq!(libc::pthread_mutex_lock(mutex as *mut _), 0);
                let number = counter as *mut u64;
                number.write_volatile(number.read_volatile() + 1);
                assert_eq!(libc::pthread_mutex_unlock(mutex as *mut _), 0);
            }
        }
    })
}

pub(super) fn add_atomic(counter: usize, times: u32, threads: u32) -> Result<i32, Errno> {
    in_threads(threads, || {
        for _ in 0..times {
            number_at(counter).fetch_add(1, Ordering::Relaxed);
        }
    })
}

fn in_threads(count: u32, body: impl Fn() + Sync) -> Result<i32, Errno> {
    std::thread::scope(|scope| (0..count).for_each(|_| drop(scope.spawn(&body))));
    Ok(0)
}

fn number_at<'a>(addr: usize) -> &'a AtomicU64 {
    // SAFETY: the test names an aligned number in a map, which is there until the test has it unmapped.
    unsafe { &*(addr as *const AtomicU64) }
}

pub(super) fn turns(word: usize, mine: u32, theirs: u32, times: u32) -> Result<i32, Errno> {
    // SAFETY: as for `number_at`.
    let turn = unsafe { &*(word as *const AtomicU32) };
    for _ in 0..times {
        loop {
            let found = turn.load(Ordering::Acquire);
            if found == mine {
                break;
            }
            // SAFETY: the word is aligned and mapped; no time limit is given.
            let waited = unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    word,
                    libc::FUTEX_WAIT,
                    found,
                    std::ptr::null::<libc::timespec>(),
                )
            };
            match waited {
                -1 if !matches!(Errno::last().0, libc::EAGAIN | libc::EINTR) => return Err(Errno::last()),
                _ => {}
            }
        }
        turn.store(theirs, Ordering::Release);
        // SAFETY: as above.
        done(unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) } as i32)?;
    }
    Ok(0)
}

/// Stores to cells of the threads' own, checks what others store, and flushes, all at once.
pub(super) fn hammer(work: &Hammer) -> Answer {
    let end = Instant::now() + Duration::from_millis(work.millis);
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (work.first..work.first + work.threads)
            .map(|thread| scope.spawn(move || hammer_as(work, thread, end)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a hammering thread")).collect()
    });
    Answer::Counts(counts)
}

/// One thread's work; gives back the number of its stores.
fn hammer_as(work: &Hammer, thread: u64, end: Instant) -> u64 {
    let cell = |index: u64| number_at(work.addr + index as usize * 8);
    let cells = work.len as u64 / 8;
    let mut course = cells::Course::new(thread, work.of, cells);
    let mut choose = fastrand::Rng::with_seed(thread + 1000);
    let mut last = vec![0; cells.div_ceil(work.of) as usize];
    let mut stores = 0;
    while Instant::now() < end {
        for _ in 0..choose.u32(1..20_000) {
            let index = course.next();
            let before = &mut last[(index / work.of) as usize];
            let found = cell(index).load(Ordering::Relaxed);
            assert_eq!(
                cells::order(index, found),
                Some(*before),
                "cell {index}, thread {thread}: lost or torn"
            );
            stores += 1;
            *before = stores;
            cell(index).store(cells::value(index, stores), Ordering::Relaxed);
            let other = choose.u64(0..cells);
            let found = cell(other).load(Ordering::Relaxed);
            assert!(
                cells::order(other, found).is_some(),
                "cell {other}, seen by thread {thread}: torn: {found:#x}"
            );
        }
        let from = choose.usize(0..work.len) / page() * page();
        let len = if choose.u8(0..8) == 0 { work.len - from } else { (64 * page()).min(work.len - from) };
        let flags = if choose.bool() { libc::MS_SYNC } else { libc::MS_ASYNC };
        calls::msync(work.addr + from, len, flags).expect("msync");
    }
    stores
}

pub(super) fn digest(addr: usize, len: usize) -> i64 {
    cells::digest((addr..addr + len).step_by(8).map(|at| number_at(at).load(Ordering::Relaxed)))
}

const STACK: usize = 1 << 20;

/// A stack for a child; its upper end.
fn stack() -> Result<usize, Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    Ok(calls::mmap(0, STACK, RW, flags, -1, 0)? + STACK)
}

/// libc's `clone`, without anything shared. The child serves at the socket and ends.
pub(super) fn clone(serve: fn(&str)) -> Result<i32, Errno> {
    extern "C" fn child(argument: *mut libc::c_void) -> i32 {
        // SAFETY: the pointer is to a pair that the parent has leaked, of which the child has its own copy.
        let (serve, socket) = unsafe { &*argument.cast::<(fn(&str), String)>() };
        super::watchdog();
        serve(socket);
        0
    }
    let socket: String = std::env::args().nth(2).expect("the socket's name");
    let argument: *mut (fn(&str), String) = Box::into_raw(Box::new((serve, socket)));
    // SAFETY: the stack is the child's own, since it has a copy of the memory; the argument is never freed.
    done(unsafe { libc::clone(child, stack()? as *mut _, libc::SIGCHLD, argument.cast()) })
}

/// What `vfork` is, with a stack of the child's own, so that a language without `vfork` can have it.
pub(super) fn store_in_vfork(addr: usize, byte: u8) -> Result<i32, Errno> {
    extern "C" fn child(store: *mut libc::c_void) -> i32 {
        // SAFETY: the parent waits, and keeps the pair until this process has another program.
        let (addr, byte) = unsafe { *store.cast::<(usize, u8)>() };
        crate::map::set(addr, byte);
        let (path, null) = (c"/bin/true".as_ptr(), std::ptr::null());
        // SAFETY: the arrays end in null; if there is no such program the child ends.
        unsafe {
            libc::execve(path, [path, null].as_ptr(), [null].as_ptr());
            libc::_exit(1)
        }
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let mut store = (addr, byte);
    // SAFETY: the parent stands still until the child has execed or ended, so that its memory may be borrowed.
    done(unsafe { libc::clone(child, stack()? as *mut _, flags, (&raw mut store).cast()) })
}
