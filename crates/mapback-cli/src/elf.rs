//! Looks at a program before it runs: can the dynamic linker load the interposer into it, and will it help?

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache};
use rustix::fs::StatVfsMountFlags;

use crate::lookup;

/// Why a program's maps cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No dynamic linker runs in it.
    Static,
    /// The dynamic linker ignores LD_PRELOAD in it; says by what it gains privileges.
    Privileged(&'static str),
    /// Built for another kind of processor than the interposer.
    Foreign,
    /// Its dynamic linker is of another C library.
    OtherLibc(String),
    /// It makes its system calls itself, not through the C library.
    Go,
}

impl Unreachable {
    /// Whether the interposer must stay out of LD_PRELOAD: the dynamic linker would complain, or fail. Otherwise it
    /// stays, for the sake of programs that this one starts.
    pub fn keeps_preload_out(&self) -> bool {
        matches!(self, Unreachable::Foreign | Unreachable::OtherLibc(_))
    }

    /// What can be done about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Unreachable::Static => "link it dynamically, or build it with the mapback library",
            Unreachable::Privileged(_) => "run it as the user whose privileges it takes, or without them",
            Unreachable::Foreign => "run it with a mapback that was built for its kind of processor",
            Unreachable::OtherLibc(_) => "use a build of the program for the GNU C library",
            Unreachable::Go => "build it with the mapback library",
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreachable::Static => f.write_str("is statically linked, so nothing can be preloaded into it"),
            Unreachable::Privileged(by) => {
                write!(
                    f,
                    "gains privileges ({by}), and the dynamic linker preloads nothing into such a program"
                )
            }
            Unreachable::Foreign => f.write_str("is built for another kind of processor than mapback"),
            Unreachable::OtherLibc(linker) => write!(f, "uses another C library than mapback ({linker})"),
            Unreachable::Go => f.write_str("is a Go program, which maps files without the C library"),
        }
    }
}

/// The program that really runs, and why it is out of reach, if it is.
#[derive(Debug)]
pub struct Verdict {
    /// The program itself, or the interpreter of a script.
    pub program: PathBuf,
    /// `None`: within reach, as far as can be seen.
    pub unreachable: Option<Unreachable>,
}

/// How many interpreters of interpreters the kernel follows.
const MAX_SCRIPTS: usize = 5;

/// Looks at the program, or at the interpreter that its `#!` line names. What cannot be read (programs need not be
/// readable) counts as within reach.
pub fn look(program: &Path) -> Verdict {
    let mut program = program.to_owned();
    for _ in 0..MAX_SCRIPTS {
        match interpreter(&program) {
            Some(next) => program = next,
            None => break,
        }
    }
    let unreachable = privileged(&program).or_else(|| File::open(&program).ok().and_then(elf));
    Verdict { program, unreachable }
}

/// The interpreter of a script.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(script).ok()?.take(256).read_to_end(&mut head).ok()?;
    let (path, name) = first_line(&head)?;
    Some(name.and_then(|name| lookup::find(name).ok()).unwrap_or_else(|| path.to_owned()))
}

/// What a `#!` line names: a path, and for `/usr/bin/env NAME` the NAME that is looked up in PATH.
fn first_line(head: &[u8]) -> Option<(&Path, Option<&OsStr>)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words =
        line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(OsStr::from_bytes);
    let path = Path::new(words.next()?);
    if path.file_name() != Some(OsStr::new("env")) {
        return Some((path, None));
    }
    let is_name = |word: &&OsStr| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'=');
    Some((path, words.find(is_name)))
}

/// By what the program gains privileges that this process does not have.
fn privileged(program: &Path) -> Option<Unreachable> {
    let meta = program.metadata().ok()?;
    let nosuid = |stat: rustix::fs::StatVfs| stat.f_flag.contains(StatVfsMountFlags::NOSUID);
    if rustix::fs::statvfs(program).is_ok_and(nosuid) || rustix::thread::no_new_privs().unwrap_or(false) {
        return None;
    }
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let has_capabilities =
        || rustix::fs::getxattr(program, "security.capability", &mut [0u8; 64][..]).is_ok();
    set_id(meta.mode(), (meta.uid(), meta.gid()), (user.as_raw(), group.as_raw()))
        .or_else(|| (!user.is_root() && has_capabilities()).then_some("file capabilities"))
        .map(Unreachable::Privileged)
}

/// Whether the mode changes who runs the program. Set-gid means something else without the group's execute bit.
fn set_id(mode: u32, owner: (u32, u32), runner: (u32, u32)) -> Option<&'static str> {
    match mode {
        _ if mode & 0o4000 != 0 && owner.0 != runner.0 => Some("set-uid"),
        _ if mode & 0o2010 == 0o2010 && owner.1 != runner.1 => Some("set-gid"),
        _ => None,
    }
}

/// What matters of an ELF file.
struct Facts {
    /// Class, byte order and machine.
    kind: (FileKind, Endianness, u16),
    linker: Option<Vec<u8>>,
    is_go: bool,
}

fn elf(file: File) -> Option<Unreachable> {
    let facts = facts(&ReadCache::new(file))?;
    let ours = File::open("/proc/self/exe").ok().and_then(|file| self::facts(&ReadCache::new(file)));
    if ours.is_some_and(|ours| ours.kind != facts.kind) {
        return Some(Unreachable::Foreign);
    }
    let Some(linker) = facts.linker else { return Some(Unreachable::Static) };
    let linker = String::from_utf8_lossy(&linker).into_owned();
    if !is_gnu_linker(&linker) {
        return Some(Unreachable::OtherLibc(linker));
    }
    facts.is_go.then_some(Unreachable::Go)
}

/// glibc's dynamic linker is called ld-linux*.so.N, ld64.so.N or ld.so.N on every processor; musl's ld-musl-*.so.1.
fn is_gnu_linker(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    ["ld-linux", "ld64.so", "ld.so", "ld-2."].iter().any(|start| name.starts_with(start))
}

fn facts(data: &ReadCache<File>) -> Option<Facts> {
    match FileKind::parse(data).ok()? {
        kind @ FileKind::Elf32 => facts_of::<FileHeader32<Endianness>>(kind, data),
        kind @ FileKind::Elf64 => facts_of::<FileHeader64<Endianness>>(kind, data),
        _ => None,
    }
}

fn facts_of<H: FileHeader<Endian = Endianness>>(kind: FileKind, data: &ReadCache<File>) -> Option<Facts> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let linker = segments.iter().find_map(|segment| segment.interpreter(endian, data).ok().flatten());
    let is_go = header
        .sections(endian, data)
        .is_ok_and(|sections| sections.section_by_name(endian, b".go.buildinfo").is_some());
    let kind = (kind, endian, header.e_machine(endian).0);
    Some(Facts { kind, linker: linker.map(<[u8]>::to_vec), is_go })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_read_off_the_first_line() {
        let named = |head: &'static str| {
            first_line(head.as_bytes())
                .map(|(path, name)| (path.to_str().unwrap(), name.map(|name| name.to_str().unwrap())))
        };
        assert_eq!(named("#!/bin/sh\nexit"), Some(("/bin/sh", None)));
        assert_eq!(named("#! /usr/bin/python3 -u"), Some(("/usr/bin/python3", None)));
        assert_eq!(named("#!/usr/bin/env python3\n"), Some(("/usr/bin/env", Some("python3"))));
        assert_eq!(named("#!/usr/bin/env -S A=1 perl -w\n"), Some(("/usr/bin/env", Some("perl"))));
        assert_eq!((named("#!\n"), named("echo"), named("")), (None, None, None));
    }

    #[test]
    fn set_id_counts_if_it_changes_who_runs() {
        assert_eq!(set_id(0o104755, (0, 0), (1000, 1000)), Some("set-uid"));
        assert_eq!(set_id(0o104755, (1000, 0), (1000, 1000)), None);
        assert_eq!(set_id(0o102755, (0, 42), (0, 0)), Some("set-gid"));
        assert_eq!(set_id(0o102745, (0, 42), (0, 0)), None, "mandatory locking, once");
        assert_eq!(set_id(0o100755, (0, 0), (1000, 1000)), None);
    }

    #[test]
    fn linkers_are_told_apart() {
        for path in [
            "/lib64/ld-linux-x86-64.so.2",
            "/lib/ld-linux-aarch64.so.1",
            "/lib/ld64.so.1",
            "/nix/x/ld-linux.so.2",
        ] {
            assert!(is_gnu_linker(path), "{path}");
        }
        for path in ["/lib/ld-musl-x86_64.so.1", "/system/bin/linker64"] {
            assert!(!is_gnu_linker(path), "{path}");
        }
    }
}
