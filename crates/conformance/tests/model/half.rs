//! One of the two sides at work: its executor, its file, and where its maps are.

use crate::arena::{BASES, PAGE, PAGES};
use crate::op::Fd;
use crate::probe::Fault;
use crate::shadow::Area;
use crate::side::{Args, Call, Kernel, Ret, Side};
use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::LazyLock;

/// The most bytes that one operation moves.
pub const MOST: usize = 16 * PAGE;

const CWD: usize = libc::AT_FDCWD as isize as usize;

pub struct Half<'a> {
    pub side: &'a mut dyn Side,
    /// Where each area begins; the arena is the first.
    pub areas: Vec<usize>,
    pub buffer: Vec<u8>,
    /// The address and the length of each part of a vectored transfer, as `iovec`s are.
    pub vectors: [[usize; 2]; 2],
    /// The two positions of copy_file_range.
    pub positions: [usize; 2],
    /// A file that nobody maps.
    pub scratch: usize,
    /// The file, opened and used by raw calls only: what another process would see.
    watch: usize,
    path: CString,
    directory: CString,
    open: [(Fd, usize); 5],
}

impl<'a> Half<'a> {
    /// Creates the files anew; `which` is 0 or 1.
    pub fn new(side: &'a mut dyn Side, which: usize, directory: &Path, size: usize) -> Half<'a> {
        let name = |what: &str| {
            let path = directory.join(format!("model-{}-{which}-{what}", std::process::id()));
            CString::new(path.as_os_str().as_bytes()).expect("a path without a zero byte")
        };
        let (path, scratch) = (name("file"), name("scratch"));
        let watch = create(&path, size);
        let scratch_fd = create(&scratch, 3 * PAGE + 100);
        unlink(&scratch);
        let mut half = Half {
            side,
            areas: vec![BASES[which]],
            buffer: vec![0; MOST],
            vectors: [[0; 2]; 2],
            positions: [0; 2],
            scratch: scratch_fd,
            watch,
            path,
            directory: CString::new(directory.as_os_str().as_bytes()).expect("a path without a zero byte"),
            open: [Fd::ReadWrite, Fd::ReadOnly, Fd::WriteOnly, Fd::Append, Fd::Directory]
                .map(|fd| (fd, usize::MAX)),
        };
        for at in 0..half.open.len() {
            half.open[at].1 = half.open(half.open[at].0, 0).expect("open of the file just created");
        }
        half
    }

    pub fn call(&mut self, call: Call, args: Args) -> Ret {
        self.side.call(call, args)
    }

    pub fn address(&self, area: Area, byte: usize) -> usize {
        self.areas[area] + byte
    }

    /// The offset in the arena of an address that a call returned, unless it is elsewhere.
    pub fn in_arena(&self, address: usize) -> Option<usize> {
        address.checked_sub(self.areas[0]).filter(|offset| *offset < PAGES * PAGE)
    }

    /// The descriptor's number on this side; Fd::Bad's is open nowhere.
    pub fn fd(&self, fd: Fd) -> usize {
        self.open.iter().find(|(kind, _)| *kind == fd).map_or(-1i32 as usize, |(_, number)| *number)
    }

    /// Opens the file once more.
    pub fn open(&mut self, fd: Fd, more: i32) -> Ret {
        let (path, flags) = match fd {
            Fd::ReadWrite => (&self.path, libc::O_RDWR),
            Fd::ReadOnly => (&self.path, libc::O_RDONLY),
            Fd::WriteOnly => (&self.path, libc::O_WRONLY),
            Fd::Append => (&self.path, libc::O_RDWR | libc::O_APPEND),
            Fd::Directory => (&self.directory, libc::O_RDONLY | libc::O_DIRECTORY),
            Fd::Bad => return Err(libc::EBADF),
        };
        self.side.call(
            Call::Openat,
            [CWD, path.as_ptr() as usize, (flags | more | libc::O_CLOEXEC) as usize, 0, 0, 0],
        )
    }

    /// Closes the descriptor and opens the file again in its place.
    pub fn reopen(&mut self, fd: Fd, more: i32) -> Ret {
        let closed = self.call(Call::Close, [self.fd(fd), 0, 0, 0, 0, 0])?;
        let number = self.open(fd, more)?;
        self.open.iter_mut().filter(|(kind, _)| *kind == fd).for_each(|slot| slot.1 = number);
        Ok(closed)
    }

    pub fn path(&self) -> usize {
        self.path.as_ptr() as usize
    }

    pub fn unlink(&mut self) -> Ret {
        self.side.call(Call::Unlinkat, [CWD, self.path.as_ptr() as usize, 0, 0, 0, 0])
    }

    pub fn close_all(&mut self) {
        for (_, number) in self.open {
            self.side.call(Call::Close, [number, 0, 0, 0, 0, 0]).expect("close of an open descriptor");
        }
    }

    /// The file's size as another process sees it.
    pub fn size(&self) -> usize {
        Kernel.call(Call::Lseek, [self.watch, 0, libc::SEEK_END as usize, 0, 0, 0]).expect("lseek")
    }

    /// The file's bytes as another process sees them.
    pub fn content(&self) -> Vec<u8> {
        read_all(self.watch, self.size())
    }

    pub fn scratch_content(&self) -> Vec<u8> {
        read_all(self.scratch, MOST)
    }

    /// A fault in terms that are the same on both sides, for an access of `n` bytes at each of `places`.
    pub fn fault(&self, fault: Fault, places: &[(Area, usize)], n: usize) -> FaultSeen {
        let place = |(at, (area, byte)): (usize, &(Area, usize))| {
            let offset = fault.address.wrapping_sub(self.address(*area, *byte));
            (offset < n).then_some((at, offset))
        };
        let at = places.iter().enumerate().find_map(place);
        FaultSeen { signal: fault.signal, code: fault.code, place: at.ok_or(fault.address) }
    }
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        for fd in [self.watch, self.scratch] {
            let _ = Kernel.call(Call::Close, [fd, 0, 0, 0, 0, 0]);
        }
        unlink(&self.path);
    }
}

/// A fault as both sides must see it.
#[derive(Clone, PartialEq, Eq)]
pub struct FaultSeen {
    signal: i32,
    code: i32,
    /// Which of the access's places, and how many bytes after its start; or else `si_addr`.
    place: Result<(usize, usize), usize>,
}

impl fmt::Debug for FaultSeen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.place {
            Ok((place, offset)) => write!(f, "{} {offset} bytes after place {place}", self.name()),
            Err(address) => write!(f, "{} at {address:#x}", self.name()),
        }
    }
}

impl FaultSeen {
    pub fn name(&self) -> String {
        let signal = if self.signal == libc::SIGBUS { "SIGBUS" } else { "SIGSEGV" };
        format!("{signal}/{}", self.code)
    }
}

/// Bytes that differ from their neighbours and from those a page further; at most [`MOST`].
pub fn pattern(value: u8, n: usize) -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| (0..MOST + 256).map(|i| (i % 251) as u8).collect());
    &BYTES[value as usize..][..n]
}

fn create(path: &CString, size: usize) -> usize {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
    let fd = Kernel.call(Call::Openat, [CWD, path.as_ptr() as usize, flags as usize, 0o600, 0, 0]);
    let fd = fd.unwrap_or_else(|errno| panic!("open of {path:?}: errno {errno}"));
    let bytes = pattern(1, size);
    let written = Kernel.call(Call::Pwrite, [fd, bytes.as_ptr() as usize, size, 0, 0, 0]);
    assert_eq!(written, Ok(size), "pwrite to {path:?}");
    fd
}

fn unlink(path: &CString) {
    let _ = Kernel.call(Call::Unlinkat, [CWD, path.as_ptr() as usize, 0, 0, 0, 0]);
}

fn read_all(fd: usize, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let got = Kernel.call(Call::Pread, [fd, bytes.as_mut_ptr() as usize, most, 0, 0, 0]).expect("pread");
    bytes.truncate(got);
    bytes
}
