//! Faults of the system: what a map must survive that the kernel refuses mapback.

use libc::{c_long, sock_filter, sock_fprog};
use mapback_conformance::{Map, TestFile, own_process, page};

/// Makes a system call fail with EPERM in this process from now on.
fn deny(call: c_long) {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let mut filter = [
        line(LOAD_NUMBER, 0, 0, 0),
        line(JUMP_EQUAL, 0, 1, call as u32),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter lives through the calls, which change only this process's privileges.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

/// Stores, syncs and stores again, so that pages are armed a second time.
fn a_map_works() {
    let file = TestFile::new(9 * page());
    let map = Map::shared(&file, 9 * page());
    for round in 1..4 {
        for at in [0, 3, 8] {
            map.set(at * page() + 5, round);
        }
        map.sync();
        assert_eq!((file.stored_byte(5), file.stored_byte(8 * page() + 5)), (round, round));
    }
    map.set(4 * page(), 9);
    map.unmap();
    assert_eq!(file.stored_byte(4 * page()), 9);
}

#[test]
fn p06_userfaultfd_denied_before_the_first_map() {
    own_process!();
    deny(libc::SYS_userfaultfd);
    a_map_works();
}

#[test]
fn p06_userfaultfd_denied_after_the_first_map() {
    own_process!();
    a_map_works();
    deny(libc::SYS_userfaultfd);
    a_map_works();
}

#[test]
fn p06_ioctl_denied_while_a_map_is_tracked() {
    own_process!();
    let file = TestFile::new(9 * page());
    let map = Map::shared(&file, 9 * page());
    map.set(0, 1);
    map.sync();
    map.set(page(), 2);
    deny(libc::SYS_ioctl);
    map.set(2 * page(), 3);
    map.sync();
    assert_eq!((file.stored_byte(page()), file.stored_byte(2 * page())), (2, 3));
    a_map_works();
}

#[test]
fn p06_io_uring_denied() {
    own_process!();
    deny(libc::SYS_io_uring_setup);
    const PAGES: usize = 1200;
    let file = TestFile::new(PAGES * page());
    let map = Map::shared(&file, PAGES * page());
    for at in (0..PAGES).step_by(2) {
        map.set(at * page(), 1);
    }
    map.sync();
    assert!((0..PAGES).step_by(2).all(|at| file.stored_byte(at * page()) == 1));
}
