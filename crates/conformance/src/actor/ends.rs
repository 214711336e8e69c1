//! Ways to end.

use super::End;
use crate::calls::{kernel, page};
use crate::{TestFile, map, process};

unsafe extern "C" {
    fn quick_exit(status: i32) -> !;
}

/// The status with which an actor ends that is asked to end with one.
pub const STATUS: i32 = 7;

/// Ends; comes back only to return from `main`.
pub(super) fn end(how: End, socket: &str) {
    // SAFETY: each of them ends the process or its program, with nothing of Rust's left to do.
    unsafe {
        match how {
            End::Return => return,
            End::Exit => libc::exit(STATUS),
            End::UnderscoreExit => libc::_exit(STATUS),
            End::QuickExit => quick_exit(STATUS),
            End::Abort => libc::abort(),
            End::Term => drop(libc::raise(libc::SIGTERM)),
            End::Kill => drop(libc::raise(libc::SIGKILL)),
            End::Segv => map::set(8, 1),
            End::Bus => bus(),
            End::Exec => drop(process::exec("true", &[])),
            End::ExecActor => {
                let program = std::env::current_exe().expect("a program knows where it is");
                drop(process::exec(program.to_str().expect("a path in UTF-8"), &["serve", socket]));
            }
        }
    }
    panic!("alive after {how:?}");
}

fn bus() {
    let (path, empty) = (std::env::temp_dir().join(format!("mapback-empty-{}", std::process::id())), b"");
    let file = TestFile::at(&path, empty);
    let _ = std::fs::remove_file(&path);
    let addr = kernel::mmap(0, page(), libc::PROT_READ, libc::MAP_SHARED, file.fd(), 0);
    map::get(addr.expect("a map by the kernel"));
}
