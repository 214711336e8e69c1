//! Where the interposer comes from.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use common::*;

/// Runs under homes of our own and tells where the interposer was.
fn location(program: &Path, cache: &Path, runtime: &Path) -> PathBuf {
    let output = Command::new(program)
        .args(["run", "--", "sh", "-c", "test -e $LD_PRELOAD && echo $LD_PRELOAD"])
        .env_remove("LD_PRELOAD")
        .env_remove("MAPBACK_PRELOAD")
        .env("XDG_CACHE_HOME", cache)
        .env("XDG_RUNTIME_DIR", runtime)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    PathBuf::from(first_line(&output))
}

fn open_to_all(folder: &Path) {
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn unpacked_to_the_cache_else_the_run_time_folder_else_a_random_one() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let (cache, runtime, hostile) = (base.join("cache"), base.join("runtime"), base.join("hostile"));
    open_to_all(&hostile);
    let program = Path::new(MAPBACK);

    let first = location(program, &cache, &runtime);
    assert_eq!(first.parent().unwrap(), cache.join("mapback"));
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let before = inode(&first);
    assert_eq!((location(program, &cache, &runtime), inode(&first)), (first, before));

    assert_eq!(location(program, &hostile, &runtime).parent().unwrap(), runtime.join("mapback"));
    assert_eq!(
        location(program, &base.join("with space"), &runtime).parent().unwrap(),
        runtime.join("mapback")
    );

    let random = location(program, &hostile, &hostile);
    assert!(random.parent().unwrap().file_name().unwrap().to_str().unwrap().starts_with("mapback-"));
    assert!(!random.parent().unwrap().exists(), "the temporary copy stayed behind");
    assert_eq!(fs::read_dir(&hostile).unwrap().count(), 0);
}

#[test]
fn a_library_of_the_same_build_beside_the_program_is_used_and_no_other() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let (cache, runtime, bin, lib) =
        (base.join("cache"), base.join("runtime"), base.join("bin"), base.join("lib/mapback"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir_all(&lib).unwrap();
    let program = bin.join("mapback");
    fs::copy(MAPBACK, &program).unwrap();
    let unpacked = location(&program, &cache, &runtime);
    assert!(unpacked.starts_with(&cache));

    let beside = lib.join("libmapback_preload.so");
    fs::copy(&unpacked, &beside).unwrap();
    assert_eq!(location(&program, &cache, &runtime), beside);
    // Stripped, as packagers do: the build id still tells.
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Command::new("strip").arg("--strip-unneeded").arg(&beside).status().unwrap().success());
    assert_ne!(fs::read(&beside).unwrap(), fs::read(&unpacked).unwrap());
    assert_eq!(location(&program, &cache, &runtime), beside);

    let nearer = bin.join("libmapback_preload.so");
    fs::copy(&unpacked, &nearer).unwrap();
    assert_eq!(location(&program, &cache, &runtime), nearer);
    fs::remove_file(&beside).unwrap();
    // Another build, or no library at all.
    for other in [compile(&base, "other.so", &["-shared", "-fPIC"]), base.join("five.c")] {
        fs::remove_file(&nearer).unwrap();
        fs::copy(other, &nearer).unwrap();
        assert_eq!(location(&program, &cache, &runtime), unpacked);
    }
}

#[test]
fn the_user_may_name_a_library() {
    let base = tempfile::tempdir().unwrap();
    let library = compile(base.path(), "mine.so", &["-shared", "-fPIC"]);
    let output = run_sh(&[], "echo $LD_PRELOAD").env("MAPBACK_PRELOAD", &library).output().unwrap();
    assert_eq!(first_line(&output), library.to_str().unwrap());
    let mut command = run_sh(&[], "echo $LD_PRELOAD");
    let output = command.env("MAPBACK_PRELOAD", "mine.so").current_dir(base.path()).output().unwrap();
    assert!(first_line(&output).ends_with("/mine.so") && first_line(&output).starts_with('/'));

    let spaced = base.path().join("a b.so");
    fs::copy(&library, &spaced).unwrap();
    for (bad, why) in [("/no/such.so", "No such file"), ("/etc/passwd", "not a shared library")]
        .into_iter()
        .chain([(spaced.to_str().unwrap(), "space")])
    {
        let output = run_sh(&[], "echo ran").env("MAPBACK_PRELOAD", bad).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(125), String::new()));
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
    run_sh(&[], "true").env("MAPBACK_PRELOAD", "").assert().success();
}
