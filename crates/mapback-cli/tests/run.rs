//! `mapback run`: statuses, the environment, programs that are out of reach.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use assert_cmd::assert::OutputAssertExt;
use common::*;

#[test]
fn the_status_is_the_programs() {
    for options in [&[][..], &["--stats-file", "/dev/null"]] {
        for status in [0, 1, 42, 125, 255] {
            run_sh(options, &format!("exit {status}")).assert().code(status);
        }
    }
}

#[test]
fn standard_streams_are_the_programs() {
    let output = run_sh(&[], "echo out; echo err >&2").output().unwrap();
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n".into(), "err\n".into()));
}

#[test]
fn what_cannot_run_has_the_usual_statuses() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "echo hello\n").unwrap();
    let dangling = folder.path().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    let bad_interpreter = folder.path().join("bad");
    fs::write(&bad_interpreter, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&bad_interpreter, fs::Permissions::from_mode(0o755)).unwrap();

    let run = |options: &[&str], program: &std::path::Path| {
        let mut command = mapback(&["run"]);
        let output = command.args(options).arg("--").arg(program).output().unwrap();
        (output.status.code().unwrap(), text(&output.stderr))
    };
    for options in [&[][..], &["--stats"]] {
        for (program, status, what) in [
            (std::path::Path::new("no-such-program"), 127, "cannot find 'no-such-program' in PATH"),
            (std::path::Path::new("/no/such/program"), 127, "No such file"),
            (&dangling, 127, "No such file"),
            (&bad_interpreter, 127, "interpreter"),
            (&plain, 126, "chmod +x"),
            (folder.path(), 126, "directory"),
            (&plain.join("below"), 127, "Not a directory"),
        ] {
            let (code, message) = run(options, program);
            assert_eq!(code, status, "{}: {message}", program.display());
            assert!(message.starts_with("mapback: ") && message.contains(what), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}

#[test]
fn path_is_searched_as_exec_does() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1"), folder.path().join("2"));
    for (folder, mode) in [(&first, 0o644), (&second, 0o755)] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("tool"), "#!/bin/sh\necho \"$0\"\n").unwrap();
        fs::set_permissions(folder.join("tool"), fs::Permissions::from_mode(mode)).unwrap();
    }
    let path = std::env::join_paths([&first, &second]).unwrap();
    let output = mapback(&["run", "tool"]).env("PATH", path).output().unwrap();
    assert_eq!(first_line(&output), second.join("tool").to_str().unwrap());
    mapback(&["run", "tool"]).env("PATH", &first).assert().code(126);
    // An empty entry is the working directory.
    mapback(&["run", "tool"]).env("PATH", ":/nowhere").current_dir(&second).assert().success();
}

#[test]
fn a_script_without_an_interpreter_line_runs_in_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "echo \"$0 $1\"; exit 9\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for options in [&[][..], &["--stats-file", "/dev/null"]] {
        let mut command = mapback(&["run"]);
        let output = command.args(options).arg(&script).arg("one").output().unwrap();
        assert_eq!(first_line(&output), format!("{} one", script.display()));
        assert_eq!(output.status.code(), Some(9));
    }
}

#[test]
fn mistakes_on_the_command_line_are_status_125() {
    for args in [
        &["run"][..],
        &["run", "--bogus", "true"],
        &["run", "--tracker", "psychic", "true"],
        &["run", "--maps", "some", "true"],
        &["run", "--stats=xml", "true"],
        &["run", "--only", "a[", "true"],
        &["run", "--stats-file", "/no/such/folder/x", "true"],
        &["bogus"],
    ] {
        mapback(args).assert().code(125);
    }
    let output = mapback(&["run", "--tracker", "psychic", "true"]).output().unwrap();
    assert!(text(&output.stderr).contains("wp-async, fault, compare, whole"), "{}", text(&output.stderr));
}

#[test]
fn options_after_the_program_are_the_programs() {
    let output = mapback(&["run", "echo", "--stats", "-n", "--"]).output().unwrap();
    assert_eq!(text(&output.stdout), "--stats -n --\n");
}

#[test]
fn options_become_the_interposers_environment() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().canonicalize().unwrap();
    let options = ["--maps", "all", "--only", "*.db", "--only", "data/*.idx", "--except", "/tmp/**"];
    let script =
        "echo \"$MAPBACK_MAPS|$MAPBACK_ONLY|$MAPBACK_EXCEPT|$MAPBACK_TRACKER|$MAPBACK_INCLUDE_TMPFS\"";
    let output = run_sh(&[&options[..], &["--tracker", "fault", "--include-tmpfs"]].concat(), script)
        .current_dir(&here)
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stdout),
        format!("all|/**/*.db\n{}/data/*.idx|/tmp/**|fault|1\n", here.display())
    );
    let mut command = run_sh(&[], "env | grep ^MAPBACK_ | sort");
    // What the caller of the tests has set is not at issue.
    let set = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MAPBACK_"));
    for (name, _) in set {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert_eq!(text(&output.stdout), "MAPBACK_FLUSH_EVERY=1000ms\nMAPBACK_MAPS=auto\n");
    for (time, passed_on) in [("0", "0ms"), ("250ms", "250ms"), ("2.5s", "2500ms")] {
        let output = run_sh(&["--flush-every", time], "echo $MAPBACK_FLUSH_EVERY").output().unwrap();
        assert_eq!(text(&output.stdout), format!("{passed_on}\n"));
    }
    run_sh(&["--flush-every", "often"], "true").assert().code(125);
}

#[test]
fn the_environment_stands_in_for_options() {
    let script = "echo \"$MAPBACK_MAPS|$MAPBACK_ONLY|$MAPBACK_TRACKER\"";
    let mut command = run_sh(&["--tracker", "whole"], script);
    command.env("MAPBACK_MAPS", "all").env("MAPBACK_TRACKER", "fault").env("MAPBACK_ONLY", "/a\n/b");
    assert_eq!(text(&command.output().unwrap().stdout), "all|/a\n/b|whole\n");
    run_sh(&[], "true").env("MAPBACK_TRACKER", "psychic").assert().code(125);
}

#[test]
fn the_interposer_is_preloaded_before_others() {
    let output = run_sh(&[], "echo $LD_PRELOAD").env("LD_PRELOAD", "libc.so.6").output().unwrap();
    let line = first_line(&output);
    let (ours, rest) = line.split_once(':').unwrap();
    assert!(ours.contains("libmapback_preload") && ours.starts_with('/'), "{line}");
    assert_eq!(rest, "libc.so.6");
    // It is really loaded, once, also when mapback runs mapback.
    let output =
        run_sh(&[], &format!("{MAPBACK} run -- sh -c 'echo $LD_PRELOAD; cat /proc/self/maps'")).output();
    let output = output.unwrap();
    assert_eq!(first_line(&output), ours);
    assert!(text(&output.stdout).lines().skip(1).any(|line| line.ends_with(ours)));
}

#[test]
fn a_static_program_runs_unserved_and_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "static", &["-static"]);
    let output = mapback(&["run"]).arg(&program).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let message = text(&output.stderr);
    assert!(message.contains("statically linked") && message.contains("unserved"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");

    let program = compile(folder.path(), "dynamic", &[]);
    let output = mapback(&["run"]).arg(&program).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(5), String::new()));

    // A script is as reachable as its interpreter.
    let script = folder.path().join("script");
    fs::write(&script, format!("#!{}\n", folder.path().join("static").display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let output = mapback(&["run"]).arg(&script).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("statically linked"));
}

#[test]
fn a_program_of_another_c_library_gets_no_preload() {
    let folder = tempfile::tempdir().unwrap();
    let linker = folder.path().join("ld-musl-test.so.1");
    let real = fs::canonicalize("/lib64/ld-linux-x86-64.so.2")
        .or_else(|_| fs::canonicalize("/lib/ld-linux-aarch64.so.1"));
    symlink(real.unwrap(), &linker).unwrap();
    let option = format!("-Wl,--dynamic-linker={}", linker.display());
    let program = compile(folder.path(), "musl", &[&option]);
    let output = mapback(&["run"]).arg(&program).env("LD_DEBUG", "libs").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let message = text(&output.stderr);
    assert!(message.contains("another C library") && message.contains("ld-musl-test.so.1"), "{message}");
    assert!(!message.contains("libmapback_preload"), "{message}");
}

#[test]
fn a_go_program_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("go.c");
    fs::write(
        &source,
        "__attribute__((section(\".go.buildinfo\"), used)) int info = 1; int main(void) { return 5; }\n",
    )
    .unwrap();
    let program = folder.path().join("go");
    assert!(
        std::process::Command::new("cc").arg(&source).arg("-o").arg(&program).status().unwrap().success()
    );
    let output = mapback(&["run"]).arg(&program).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("Go program"), "{}", text(&output.stderr));
}

#[test]
fn a_closed_stderr_does_not_change_the_status() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "static", &["-static"]);
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for options in [&["run"][..], &["run", "--stats"]] {
        assert_eq!(mapback(options).arg(&program).stderr(full()).status().unwrap().code(), Some(5));
    }
}

#[test]
fn a_program_for_another_processor_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "foreign", &[]);
    let mut bytes = fs::read(&program).unwrap();
    bytes[18] = 0x15; // e_machine: PowerPC 64
    bytes[19] = 0;
    fs::write(&program, bytes).unwrap();
    let output = mapback(&["run"]).arg(&program).output().unwrap();
    assert!(text(&output.stderr).contains("another kind of processor"), "{}", text(&output.stderr));
}

#[test]
fn completions_and_manual_page_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let output = mapback(&["completions", shell]).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("include-tmpfs"), "{shell}");
    }
    for (page, words) in
        [("", "run"), ("run", "include\\-tmpfs"), ("run", "MAPBACK_PRELOAD"), ("doctor", "TARGET")]
    {
        let output = mapback(&["man"]).args((!page.is_empty()).then_some(page)).output().unwrap();
        let page = text(&output.stdout);
        assert!(page.contains(".TH mapback") && page.contains(words), "{page}");
    }
    mapback(&["man", "bogus"]).assert().code(125);
}
