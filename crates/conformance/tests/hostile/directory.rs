//! A directory of images that is none.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use mapback_conformance::{page, scene_under_mapback};

use crate::visit;

type Plant = fn(&Path, &Path);

/// Each puts something at the first path; the second is a directory of somebody's.
const PLANTS: [(&str, Plant); 7] = [
    ("nothing", |_, _| {}),
    ("a file", |at, _| fs::write(at, b"x").unwrap()),
    ("a symlink to a directory", |at, other| symlink(other, at).unwrap()),
    ("a symlink to nothing", |at, other| symlink(other.join("nothing"), at).unwrap()),
    ("a directory that all may write to", |at, _| directory(at, 0o777)),
    ("a directory that others may read", |at, _| directory(at, 0o755)),
    ("a directory with the sticky bit", |at, _| directory(at, 0o1777)),
];

fn directory(at: &Path, mode: u32) {
    fs::create_dir(at).unwrap();
    fs::set_permissions(at, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn i4_what_is_planted_in_place_of_the_directory() {
    for (what, plant) in PLANTS {
        let mut scene = scene_under_mapback!();
        let other = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let at = scene.images().join("inner");
        plant(&at, other.path());
        scene.shared_dir = Some(at.clone());
        let file = scene.file(2 * page());
        let got = visit(&scene, scene.actor(), &file);
        eprintln!("{what}: {got:?}");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "{what}: something was made elsewhere");
        if what == "nothing" {
            assert_eq!(got, Ok(()), "a directory that is missing is made");
            assert_eq!(fs::metadata(&at).unwrap().mode() & 0o7777, 0o700);
        }
        if got.is_err() {
            let said = scene.said();
            assert!(
                said.contains(at.to_str().unwrap()),
                "{what}: the error does not name the directory: {said}"
            );
        }
    }
}
