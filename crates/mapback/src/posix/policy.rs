//! Which maps mapback takes over.

use super::Request;
use crate::sys::Errno;
use crate::sys::os::{file, mem};
use crate::track::TrackerKind;
use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use std::path::{Path, PathBuf};

/// Which maps of regular files are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those that the file system refuses.
    #[default]
    Auto,
    /// All.
    All,
}

/// With whom images are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// With the processes that this one forks.
    No,
    /// With all processes of the user: in `/dev/shm`, or where that is not there, `$XDG_RUNTIME_DIR`.
    #[default]
    Default,
    /// With all that name the same directory, which is made if it is not there, for this user alone.
    In(PathBuf),
}

/// How a [`super::Space`] behaves.
pub struct Config {
    /// Which maps are served.
    pub mode: Mode,
    /// The tracker to use; without, the best that works here.
    pub tracker: Option<TrackerKind>,
    /// Serve files on tmpfs, ramfs and memory files too, which the kernel serves as well itself.
    pub include_tmpfs: bool,
    /// Whether a file is to be served, by its path. Without, every file is.
    #[allow(clippy::type_complexity)]
    pub choose: Option<Box<dyn Fn(&Path) -> bool + Send + Sync>>,
    /// With whom images are shared.
    pub share: Share,
    /// Tells the user, in one line, what no call can return.
    pub report: fn(&str),
}

impl Default for Config {
    fn default() -> Config {
        Config {
            mode: Mode::Auto,
            tracker: None,
            include_tmpfs: false,
            choose: None,
            share: Share::default(),
            report: |_| (),
        }
    }
}

impl core::fmt::Debug for Config {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Config")
            .field("mode", &self.mode)
            .field("tracker", &self.tracker)
            .finish_non_exhaustive()
    }
}

/// File systems whose files are memory already.
const IN_MEMORY: [u64; 3] =
    [0x0102_1994 /* tmpfs */, 0x8584_58f6 /* ramfs */, 0x9584_58f6 /* hugetlbfs */];

/// File systems whose files are no files: the kernel makes their content as it is read.
const PSEUDO: [u64; 19] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0x1cd1,      // devpts
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0x6165_676c, // pstore
    0xf97c_ff8c, // selinuxfs
    0x4249_4e4d, // binfmt_misc
    0x444d_4142, // dma-buf
    0x5345_434d, // secretmem
    0x0904_1934, // anonymous inodes
    0x454d_444d, // devmem
    0x6e73_6673, // nsfs
];

const HUGETLBFS: u64 = 0x9584_58f6;

/// What a descriptor allows, once it is known that mapback could serve it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) writable: bool,
    /// The protections that a map through this descriptor may ever have.
    pub(super) allowed: i32,
}

impl Config {
    /// Whether the request is for a file that mapback may serve, with arguments that the kernel would accept of
    /// this descriptor. `None`: the kernel shall answer, be it with an error.
    pub(super) fn candidate(&self, req: &Request, fd: BorrowedFd<'_>) -> Result<Option<Candidate>, Errno> {
        let facts = file::facts(fd)?;
        let shared = match req.flags & mem::MAP_TYPE {
            mem::MAP_SHARED | mem::MAP_SHARED_VALIDATE => true,
            mem::MAP_PRIVATE => false,
            _ => return Ok(None),
        };
        let flags = file::flags(fd)?;
        let mode = flags & OFlags::RWMODE;
        let writable = mode == OFlags::RDWR;
        let denied = flags.contains(OFlags::PATH)
            || mode == OFlags::WRONLY
            || (shared && req.prot & mem::PROT_WRITE != 0 && !writable);
        if !facts.regular || denied || req.flags & mem::MAP_HUGETLB != 0 {
            return Ok(None);
        }
        let noexec = file::is_noexec(fd);
        if noexec && req.prot & mem::PROT_EXEC != 0 {
            return Ok(None);
        }
        let write = if writable || !shared { mem::PROT_WRITE } else { 0 };
        let exec = if noexec { 0 } else { mem::PROT_EXEC };
        let allowed = mem::PROT_READ | write | exec;
        Ok(Some(Candidate { writable: shared && writable, allowed }))
    }

    /// Whether files like this one are served at all.
    pub(crate) fn serves(&self, fd: BorrowedFd<'_>) -> bool {
        let Ok(magic) = file::fs_magic(fd) else { return false };
        let memory = IN_MEMORY.contains(&magic);
        if PSEUDO.contains(&magic) || magic == HUGETLBFS || (memory && !self.include_tmpfs) {
            return false;
        }
        self.choose.as_ref().is_none_or(|choose| choose(&file::name(fd)))
    }
}

/// Whether the kernel's answer says that the file system refuses shared maps.
pub(super) fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::NODEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS)
}
