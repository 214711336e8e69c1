//! The processes that have one image, as they note themselves in its header; and who of them lives no more.
//!
//! A note is the process's id and a part of its time of birth, because ids are used again. Who ends in good order
//! takes its note away; a note whose process is gone says that changes may be in the image and not in the file.

use core::sync::atomic::{AtomicU64, Ordering};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{
    ERROR_INVALID_PARAMETER, FILETIME, GetLastError, HANDLE, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
    WaitForSingleObject,
};

fn born(process: HANDLE) -> Option<u32> {
    let zero = FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 };
    let (mut birth, mut rest) = (zero, [zero; 3]);
    let [exit, kernel, user] = rest.each_mut().map(|time| &raw mut *time);
    // SAFETY: out-pointers to live structures.
    let done = unsafe { GetProcessTimes(process, &raw mut birth, exit, kernel, user) };
    // 100 ns each: what is kept wraps after some seven minutes, by which nobody gets the same id again by plan.
    (done != 0).then_some(birth.dwLowDateTime)
}

/// This process's note.
fn note() -> u64 {
    // SAFETY: the pseudo-handle of this process.
    let birth = born(unsafe { GetCurrentProcess() }).unwrap_or(0);
    u64::from(super::pid() as u32) << 32 | u64::from(birth)
}

/// Notes this process. Where all places are taken it is not noted, and nobody will know of its death.
pub(super) fn enter(users: &[AtomicU64]) {
    let mine = note();
    if users.iter().any(|user| user.load(Ordering::Acquire) == mine) {
        return;
    }
    for user in users {
        if user.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

/// Takes this process's note away.
pub(super) fn leave(users: &[AtomicU64]) {
    forget(users, note());
}

/// Takes a note away.
pub(super) fn forget(users: &[AtomicU64], note: u64) {
    for user in users {
        let _ = user.compare_exchange(note, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The notes of processes that live no more.
pub(super) fn dead(users: &[AtomicU64]) -> Vec<u64> {
    let mine = note();
    let others =
        users.iter().map(|user| user.load(Ordering::Acquire)).filter(|note| *note != 0 && *note != mine);
    others.filter(|note| !lives(*note)).collect()
}

/// Whether a noted process lives. Where the system does not say so, it does.
fn lives(note: u64) -> bool {
    let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
    // SAFETY: takes numbers.
    let process = unsafe { OpenProcess(access, 0, (note >> 32) as u32) };
    if process.is_null() {
        // SAFETY: reads a number.
        return unsafe { GetLastError() } != ERROR_INVALID_PARAMETER;
    }
    // SAFETY: just opened, owned by nobody else.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    if born(process.as_raw_handle()).is_some_and(|birth| birth != note as u32) {
        return false;
    }
    // SAFETY: a handle that is open; does not wait.
    unsafe { WaitForSingleObject(process.as_raw_handle(), 0) != WAIT_OBJECT_0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_dead_and_this_one_lives() {
        let users: [AtomicU64; 4] = Default::default();
        enter(&users);
        enter(&users);
        assert_eq!(users.iter().filter(|user| user.load(Ordering::Relaxed) != 0).count(), 1);
        let mut child = std::process::Command::new("cmd").args(["/c", "pause"]).spawn().unwrap();
        let birth = born(child.as_raw_handle()).unwrap();
        let theirs = u64::from(child.id()) << 32 | u64::from(birth);
        users[2].store(theirs, Ordering::Relaxed);
        assert!(dead(&users).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(dead(&users), [theirs]);
        forget(&users, theirs);
        leave(&users);
        assert!(users.iter().all(|user| user.load(Ordering::Relaxed) == 0));
    }
}
