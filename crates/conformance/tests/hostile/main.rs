//! I4, L9: what others may have put into the directory of images, or do to what is there.
//!
//! An error or a fresh image; never a crash, a hang, a read of another's data or a write outside the file. Always under
//! mapback: the kernel has no such directory. Tests whose names begin with `i4_users_` play several users, and need root.

mod becoming;
mod directory;
mod flipped;
mod late;
mod leftovers;
mod live;
mod mutation;
mod outsiders;
mod planted;
mod recovery;
mod users;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use mapback_conformance::actor::{Actor, Answer, Ask, End};
use mapback_conformance::map::RW;
use mapback_conformance::{Scene, TestFile};

/// Asks for a shared map of all of the file.
fn try_map(actor: &Actor<'_>, file: &TestFile) -> Result<usize, i32> {
    let fd = actor.open(file, libc::O_RDWR);
    let answer = actor.ask(&Ask::Map { fd, len: file.len(), prot: RW, flags: libc::MAP_SHARED, off: 0 });
    actor.call(&Ask::Close { fd });
    match answer {
        Answer::Mapped(addr, behind) => {
            assert_ne!(behind, file.path().to_string_lossy(), "the kernel's map, not ours");
            Ok(addr)
        }
        Answer::Errno(error) => Err(error),
        other => panic!("mmap: {other:?}"),
    }
}

/// The files of the image of `file` in the scene's directory: control block and content.
fn image_of(scene: &Scene, file: &TestFile) -> [PathBuf; 2] {
    let before = scene.image_files();
    let actor = scene.actor();
    try_map(&actor, file).expect("a map");
    let new: Vec<String> = scene.image_files().into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(actor.end(End::Exit).code(), Some(7));
    let with = |suffix: &str| {
        let name = new.iter().find(|name| name.ends_with(suffix));
        scene.images().join(name.unwrap_or_else(|| panic!("no {suffix} among {new:?}")))
    };
    [with(".ctl"), with(".img")]
}

/// `mapback recover`: its status, and what it says on standard output.
#[track_caller]
fn recover(scene: &Scene, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> (Option<i32>, String) {
    let output = scene.recover(words).stdout(Stdio::piped()).output().expect("mapback recover");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program comes, maps the file, looks, stores a byte and ends well. Either it gets an error from `mmap`, or it sees
/// what the file holds and its byte is in the file afterwards.
#[track_caller]
fn visit(scene: &Scene, actor: Actor<'_>, file: &TestFile) -> Result<(), i32> {
    let mut expected = file.stored_all();
    let mapped = try_map(&actor, file);
    if let Ok(addr) = mapped {
        let seen = actor.ask(&Ask::Load { addr, len: expected.len() });
        assert_eq!(seen, Answer::Bytes(expected.clone()), "not what the file holds");
        let off = expected.len() / 2;
        expected[off] ^= 0x55;
        actor.call(&Ask::Store { addr: addr + off, bytes: vec![expected[off]] });
    }
    assert_eq!(actor.end(End::Exit).code(), Some(7), "{}", scene.said());
    assert!(file.stored_all() == expected, "the file afterwards; mmap was {mapped:?}");
    mapped.map(|_| ())
}
