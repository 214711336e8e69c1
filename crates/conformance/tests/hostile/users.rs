//! Several users on one machine. These tests need root, which can be anybody.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use mapback_conformance::actor::{Actor, Answer, Ask, End};
use mapback_conformance::{Scene, TestFile, page, scene_under_mapback};

use crate::{image_of, try_map, visit};

const NOBODY: u32 = 65534;

#[track_caller]
pub fn need_root() {
    // SAFETY: asks for a number.
    let user = unsafe { libc::geteuid() };
    assert_eq!(user, 0, "this test plays several users: run it as root, or leave it out by name");
}

/// A user's directories of images under /dev/shm. Each test has a user of its own; they are removed before and after.
pub struct Place {
    pub user: u32,
}

impl Place {
    pub fn of(user: u32) -> Place {
        let place = Place { user };
        place.clear();
        place
    }

    fn first(&self) -> PathBuf {
        format!("/dev/shm/mapback-{}", self.user).into()
    }

    fn all(&self) -> Vec<PathBuf> {
        let first = self.first();
        let name = first.file_name().unwrap().to_str().unwrap();
        let ours = |path: &PathBuf| {
            let found = path.file_name().unwrap().to_str().unwrap_or_default();
            found == name || found.starts_with(&format!("{name}-"))
        };
        fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().path()).filter(ours).collect()
    }

    fn clear(&self) {
        for path in self.all() {
            let real = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            let _ = if real { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A file that a user owns, in a scene whose images are where mapback puts them by itself.
pub fn file_of(scene: &mut Scene, user: u32, mode: u32) -> TestFile {
    scene.shared_dir = None;
    let file = scene.file(3 * page());
    chown(file.path(), Some(user), Some(user)).expect("chown");
    fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).expect("chmod");
    file
}

#[test]
fn i4_users_another_user_has_made_the_directory_first() {
    need_root();
    type Plant = fn(&Path, &Path);
    let plants: [(&str, Plant); 6] = [
        ("a directory for all", |at, _| directory(at, 0o777, NOBODY)),
        ("a directory of their own", |at, _| directory(at, 0o700, NOBODY)),
        ("a symlink to a directory of theirs", |at, other| symlink(other, at).unwrap()),
        ("a symlink to a file", |at, other| symlink(other.join("victim"), at).unwrap()),
        ("a file", |at, _| {
            fs::write(at, b"x").unwrap();
            chown(at, Some(NOBODY), None).unwrap();
        }),
        ("nothing", |_, _| {}),
    ];
    let place = Place::of(61001);
    for (what, plant) in plants {
        place.clear();
        let other = tempfile::tempdir_in("/dev/shm").expect("a directory");
        fs::set_permissions(other.path(), PermissionsExt::from_mode(0o777)).unwrap();
        plant(&place.first(), other.path());
        let mut scene = scene_under_mapback!();
        let file = file_of(&mut scene, place.user, 0o600);
        let actor = scene.actor_as(place.user);
        let mapped = try_map(&actor, &file);
        for path in place.all() {
            let found = fs::symlink_metadata(&path).unwrap();
            if found.uid() != place.user {
                let inside = if found.is_dir() { fs::read_dir(&path).unwrap().count() } else { 0 };
                assert_eq!(inside, 0, "{what}: something was made in another's directory");
            } else if found.is_dir() {
                assert_eq!(found.mode() & 0o7777, 0o700, "{what}: {}", path.display());
            }
        }
        assert_eq!(
            fs::read_dir(other.path()).unwrap().count(),
            0,
            "{what}: something was made behind a symlink"
        );
        eprintln!("{what}: {mapped:?}");
        actor.end(End::Exit);
        let got = visit(&scene, scene.actor_as(place.user), &file);
        assert_eq!(got.is_ok(), mapped.is_ok(), "{what}");
        assert!(what != "nothing" || got.is_ok());
    }
}

fn directory(at: &Path, mode: u32, owner: u32) {
    fs::create_dir(at).unwrap();
    fs::set_permissions(at, PermissionsExt::from_mode(mode)).unwrap();
    chown(at, Some(owner), Some(owner)).unwrap();
}

#[test]
fn i4_users_files_of_another_owner_in_the_directory() {
    need_root();
    for places in [[true, false], [false, true], [true, true]] {
        let scene = scene_under_mapback!();
        let file = scene.file(3 * page());
        for (at, _) in image_of(&scene, &file).iter().zip(places).filter(|(_, here)| *here) {
            fs::write(at, vec![0x77; 3 * page()]).unwrap();
            fs::set_permissions(at, PermissionsExt::from_mode(0o666)).unwrap();
            chown(at, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        eprintln!("{places:?}: {:?}", visit(&scene, scene.actor(), &file));
    }
}

#[test]
fn i4_users_a_directory_of_another_owner() {
    need_root();
    for mode in [0o700, 0o777] {
        let mut scene = scene_under_mapback!();
        let at = scene.images().join("theirs");
        directory(&at, mode, NOBODY);
        scene.shared_dir = Some(at.clone());
        let file = scene.file(3 * page());
        eprintln!("mode {mode:o}: {:?}", visit(&scene, scene.actor(), &file));
        assert_eq!(fs::read_dir(&at).unwrap().count(), 0, "something was made in another's directory");
    }
}

fn map_to_read(actor: &Actor<'_>, file: &TestFile) -> Answer {
    let fd = actor.open(file, libc::O_RDONLY);
    let (prot, flags) = (libc::PROT_READ, libc::MAP_SHARED);
    actor.ask(&Ask::Map { fd, len: page(), prot, flags, off: 0 })
}

#[test]
fn i4_users_one_file_has_no_two_images_where_one_of_them_may_write_it() {
    need_root();
    let (one, two) = (Place::of(61002), Place::of(61003));
    let mut scene = scene_under_mapback!();
    let file = file_of(&mut scene, one.user, 0o666);
    let writer = scene.actor_as(one.user);
    let addr = try_map(&writer, &file).expect("the first user's map");
    writer.call(&Ask::Store { addr, bytes: vec![1] });
    let other = scene.actor_as(two.user);
    assert_eq!(try_map(&other, &file), Err(libc::EACCES), "the second user's map");
    let said = scene.said();
    assert!(said.contains(file.path().to_str().unwrap()), "no word on why: {said}");
    assert_eq!(map_to_read(&other, &file), Answer::Errno(libc::EACCES), "to read");
    other.end(End::Exit);
    writer.end(End::Exit);
    assert_eq!(file.stored_byte(0), 1);
    assert_eq!(visit(&scene, scene.actor_as(two.user), &file), Ok(()), "once the first has gone");
}

#[test]
fn i4_users_a_file_that_neither_may_write_has_an_image_for_each() {
    need_root();
    let (one, two) = (Place::of(61004), Place::of(61005));
    let mut scene = scene_under_mapback!();
    let file = file_of(&mut scene, 0, 0o444);
    let actors = [scene.actor_as(one.user), scene.actor_as(two.user)];
    for actor in &actors {
        let answer = map_to_read(actor, &file);
        let Answer::Mapped(addr, _) = answer else { panic!("{answer:?}\n{}", scene.said()) };
        assert_eq!(actor.ask(&Ask::Load { addr, len: page() }), Answer::Bytes(file.stored(0, page())));
    }
}
