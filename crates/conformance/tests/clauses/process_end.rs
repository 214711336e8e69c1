//! P31: whatever ends the process or its program, what was stored in a shared map is in the file.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use mapback_conformance::process::{Ended, scratch};
use mapback_conformance::{Map, TestFile, own_process, page, split_process};

const NAME: &str = "victim";

/// In the test's own process: stores into a map of a fresh file and ends by `end`, which does not return. In the
/// harness's: checks the file, and gives back how the process ended.
fn stores_survive(split: Option<Ended>, end: impl FnOnce()) -> Ended {
    let Some(ended) = split else {
        let file = TestFile::at(&scratch().join(NAME), &vec![1; 4 * page()]);
        let map = Map::shared(&file, 4 * page());
        map.sync();
        map.set(0, 0xa1);
        map.set(3 * page() + 7, 0xa2);
        end();
        panic!("the process goes on");
    };
    let found = std::fs::read(ended.scratch().join(NAME)).expect("the file that the process made");
    let mut expected = vec![1; 4 * page()];
    (expected[0], expected[3 * page() + 7]) = (0xa1, 0xa2);
    assert!(found == expected, "stores are lost; the process ended with {}\n{}", ended.status, ended.output);
    ended
}

#[test]
fn p31_exit() {
    // SAFETY: ends the process.
    let ended = stores_survive(split_process!(), || unsafe { libc::exit(7) });
    assert_eq!(ended.status.code(), Some(7));
}

#[test]
fn p31_underscore_exit() {
    // SAFETY: ends the process.
    let ended = stores_survive(split_process!(), || unsafe { libc::_exit(8) });
    assert_eq!(ended.status.code(), Some(8));
}

#[test]
fn p31_c99_exit() {
    unsafe extern "C" {
        fn _Exit(status: i32) -> !;
    }
    // SAFETY: ends the process.
    let ended = stores_survive(split_process!(), || unsafe { _Exit(9) });
    assert_eq!(ended.status.code(), Some(9));
}

#[test]
fn p31_quick_exit() {
    unsafe extern "C" {
        fn quick_exit(status: i32) -> !;
    }
    // SAFETY: ends the process.
    let ended = stores_survive(split_process!(), || unsafe { quick_exit(10) });
    assert_eq!(ended.status.code(), Some(10));
}

#[test]
fn p31_abort() {
    // SAFETY: ends the process.
    let ended = stores_survive(split_process!(), || unsafe { libc::abort() });
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT));
}

#[test]
fn p31_return_from_main() {
    if let Some(ended) = split_process!() {
        ended.assert_passed();
        stores_survive(Some(ended), || {});
        return;
    }
    let file = TestFile::at(&scratch().join(NAME), &vec![1; 4 * page()]);
    let map = Map::shared(&file, 4 * page());
    map.set(0, 0xa1);
    map.set(3 * page() + 7, 0xa2);
    map.leak();
}

#[test]
fn p31_exit_while_other_threads_run() {
    let ended = stores_survive(split_process!(), || {
        for _ in 0..3 {
            std::thread::spawn(std::thread::park);
        }
        std::process::exit(0);
    });
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn p31_exit_from_a_thread() {
    let ended = stores_survive(split_process!(), || {
        let _ = std::thread::spawn(|| std::process::exit(11)).join();
    });
    assert_eq!(ended.status.code(), Some(11));
}

#[test]
fn p31_exec() {
    let ended = stores_survive(split_process!(), || drop(mapback_conformance::process::exec("true", &[])));
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn p31_every_function_of_the_exec_family() {
    type Exec = fn(*const libc::c_char, *const *const libc::c_char, *const *const libc::c_char) -> i32;
    // SAFETY: all of the functions below get strings and arrays that end as C wants them.
    let family: [(&str, Exec); 6] = [
        ("execv", |path, argv, _| unsafe { libc::execv(path, argv) }),
        ("execve", |path, argv, envp| unsafe { libc::execve(path, argv, envp) }),
        ("execvp", |path, argv, _| unsafe { libc::execvp(path, argv) }),
        ("execvpe", |path, argv, envp| unsafe { libc::execvpe(path, argv, envp) }),
        ("execl", |path, argv, _| unsafe { libc::execl(path, *argv, std::ptr::null::<libc::c_char>()) }),
        ("fexecve", |path, argv, envp| unsafe {
            libc::fexecve(libc::open(path, libc::O_RDONLY), argv, envp)
        }),
    ];
    own_process!();
    for (name, exec) in family {
        let file = TestFile::new(2 * page());
        let map = Map::shared(&file, 2 * page());
        let child = mapback_conformance::process::fork(|| {
            map.set(page(), 0xb1);
            let (path, null) = (c"/bin/true".as_ptr(), std::ptr::null());
            exec(path, [path, null].as_ptr(), [null].as_ptr());
            false
        });
        child.assert_good();
        map.unmap();
        assert_eq!(file.stored_byte(page()), 0xb1, "{name}");
    }
}

#[test]
fn p31_a_failed_exec_changes_nothing() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    map.set(0, 0xc1);
    let error = mapback_conformance::process::exec("/nonexistent/program", &[]);
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    assert_eq!(map.get(0), 0xc1);
    map.set(page(), 0xc2);
    map.unmap();
    assert_eq!(file.stored_byte(0), 0xc1);
    assert_eq!(file.stored_byte(page()), 0xc2);
}

#[test]
fn p31_starting_programs_leaves_the_maps_alone() {
    own_process!();
    let file = TestFile::new(2 * page());
    let map = Map::shared(&file, 2 * page());
    for round in 0..5 {
        map.set(0, round);
        let listed = Command::new("cat").arg(file.path()).output().expect("cat");
        assert_eq!(listed.stdout.len(), 2 * page());
        // SAFETY: system runs a shell command and touches no memory of ours.
        assert_eq!(unsafe { libc::system(c"true".as_ptr()) }, 0);
        map.set(page(), round);
        assert_eq!(map.get(0), round);
    }
    map.unmap();
    assert_eq!((file.stored_byte(0), file.stored_byte(page())), (4, 4));
}

#[test]
fn p31_a_program_that_is_started_after_msync_sees_the_stores() {
    own_process!();
    let file = TestFile::new(page());
    let map = Map::shared(&file, page());
    map.set(3, 0xd1);
    map.sync();
    let seen = Command::new("cat").arg(file.path()).output().expect("cat");
    assert_eq!(seen.stdout[3], 0xd1);
}
