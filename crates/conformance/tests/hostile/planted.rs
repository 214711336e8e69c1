//! Things with the names of an image's files that are none.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use mapback_conformance::actor::End;
use mapback_conformance::{page, scene_under_mapback};

use crate::{image_of, try_map, visit};

/// Puts something at the first path; the second is a file that must not be touched, the third one that is not there.
type Plant = fn(&Path, &Path, &Path);

const PLANTS: [(&str, Plant); 13] = [
    ("an empty file", |at, _, _| fs::write(at, b"").unwrap()),
    ("one byte", |at, _, _| fs::write(at, b"x").unwrap()),
    ("garbage", |at, _, _| fs::write(at, garbage(4096)).unwrap()),
    ("much garbage", |at, _, _| fs::write(at, garbage(1 << 20)).unwrap()),
    ("zeros", |at, _, _| fs::write(at, vec![0; 65536]).unwrap()),
    ("a huge hole", |at, _, _| fs::File::create(at).unwrap().set_len(1 << 40).unwrap()),
    ("a symlink to a file", |at, victim, _| symlink(victim, at).unwrap()),
    ("a symlink to nothing", |at, _, nothing| symlink(nothing, at).unwrap()),
    ("a symlink to itself", |at, _, _| symlink(at, at).unwrap()),
    ("a hard link", |at, victim, _| fs::hard_link(victim, at).unwrap()),
    ("a pipe", |at, _, _| pipe(at)),
    ("a directory", |at, _, _| {
        fs::create_dir(at).unwrap();
        fs::write(at.join("something"), b"in it").unwrap();
    }),
    ("a socket", |at, _, _| drop(UnixListener::bind(at).unwrap())),
];

fn garbage(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut bytes);
    bytes
}

fn pipe(at: &Path) {
    let name = std::ffi::CString::new(at.to_str().unwrap()).unwrap();
    // SAFETY: the name ends in NUL.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

/// Two files in the same file system as the images, so that they can be linked to.
fn bystanders() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory");
    fs::write(dir.path().join("victim"), b"not to be touched").unwrap();
    fs::set_permissions(dir.path().join("victim"), PermissionsExt::from_mode(0o640)).unwrap();
    dir
}

#[track_caller]
fn assert_untouched(dir: &Path) {
    let victim = dir.join("victim");
    assert_eq!(fs::read(&victim).unwrap(), b"not to be touched");
    assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o640, "the mode of what was linked to");
    assert!(!dir.join("nothing").exists(), "a file was made where a symlink points");
}

#[test]
fn i4_what_is_planted_in_place_of_an_images_files() {
    for (what, plant) in PLANTS {
        for places in [[true, false], [false, true], [true, true]] {
            let scene = scene_under_mapback!();
            let file = scene.file(3 * page() + 100);
            let dir = bystanders();
            for (at, _) in image_of(&scene, &file).iter().zip(places).filter(|(_, here)| *here) {
                assert!(!at.exists(), "{} is left after its last process", at.display());
                plant(at, &dir.path().join("victim"), &dir.path().join("nothing"));
            }
            let first = visit(&scene, scene.actor(), &file);
            eprintln!("{what}, control block and content {places:?}: {first:?}");
            assert_untouched(dir.path());
            // What the first got the second gets, unless the first has cleared the place.
            let second = visit(&scene, scene.actor(), &file);
            assert!(first.is_err() || second.is_ok(), "{what}: served once, and then {second:?}");
            assert_untouched(dir.path());
            let status = mapback_conformance::scene::Run::start(scene.recover(["--all"])).finish();
            assert!(
                matches!(status.code(), Some(0 | 1)),
                "{what}: recover ended with {status}\n{}",
                scene.said()
            );
            assert_untouched(dir.path());
            if first.is_err() {
                assert!(
                    scene.said().contains("mapback"),
                    "{what}: an error without a word on standard error"
                );
            }
        }
    }
}

#[test]
fn i4_the_image_of_one_file_in_the_place_of_anothers() {
    for with_content in [true, false] {
        let scene = scene_under_mapback!();
        let (one, two) = (scene.file_with(&vec![1; 2 * page()]), scene.file_with(&vec![2; 2 * page()]));
        let (places, others) = (image_of(&scene, &one), image_of(&scene, &two));
        // A process that was killed with its keeper leaves an image of `two` behind.
        let actor = scene.actor();
        let addr = try_map(&actor, &two).expect("a map");
        actor.call(&mapback_conformance::actor::Ask::Store { addr, bytes: vec![22; 10] });
        actor.kill_with_keeper();
        for (at, from) in places.iter().zip(&others).take(if with_content { 2 } else { 1 }) {
            fs::copy(from, at).expect("copying another's image");
        }
        let got = visit(&scene, scene.actor(), &one);
        eprintln!("with the content: {with_content}: {got:?}");
        let status = mapback_conformance::scene::Run::start(scene.recover(["--all"])).finish();
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        let others: Vec<u8> = [vec![22; 10], vec![2; 2 * page() - 10]].concat();
        assert!(two.stored_all() == others, "the other file has what was stored to it");
        let mut expected = vec![1; 2 * page()];
        if got.is_ok() {
            expected[page()] ^= 0x55;
        }
        assert!(one.stored_all() == expected, "this one nothing of it");
    }
}

#[test]
fn i4_images_can_be_read_by_their_user_alone() {
    let scene = scene_under_mapback!();
    let file = scene.file(page());
    let actor = scene.actor();
    // SAFETY: a number; the actor that is started afterwards inherits it.
    let before = unsafe { libc::umask(0) };
    let second = scene.actor();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    try_map(&second, &file).expect("a map");
    try_map(&actor, &file).expect("a map");
    let names = scene.image_files();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let found = fs::symlink_metadata(scene.images().join(&name)).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o600, "{name}");
    }
    actor.end(End::Exit);
    second.end(End::Exit);
    assert_eq!(scene.image_files(), Vec::<String>::new(), "after the last process");
}
