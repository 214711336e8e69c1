//! The inodes that the kernel knows about, each pinned by an `O_PATH` descriptor.
//!
//! The descriptor keeps the underlying inode alive, so its number cannot be given to another file while
//! the kernel still refers to it: `st_ino` is the underlying one and stays stable, also after `unlink`.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::Stat;
use rustix::io::Errno;

/// FUSE's number for the root of every mount.
const ROOT: u64 = 1;
/// Where numbers start for files whose own number is taken (by the root, or by another device's file).
const FIRST_ALIAS: u64 = 1 << 48;

struct Inode {
    path_fd: Arc<OwnedFd>,
    identity: (u64, u64),
    lookups: u64,
}

#[derive(Default)]
struct Tables {
    by_node: HashMap<u64, Inode>,
    by_identity: HashMap<(u64, u64), u64>,
    aliases: u64,
}

/// All inodes that the kernel holds a reference to.
pub struct Inodes(Mutex<Tables>);

impl Inodes {
    /// A table that knows just the root.
    pub fn new(root: OwnedFd, stat: &Stat) -> Inodes {
        let inodes = Inodes(Mutex::default());
        inodes.lock().insert(ROOT, root, identity(stat));
        inodes
    }

    /// The `O_PATH` descriptor behind a node.
    pub fn get(&self, node: u64) -> Result<Arc<OwnedFd>, Errno> {
        self.lock().by_node.get(&node).map(|inode| Arc::clone(&inode.path_fd)).ok_or(Errno::STALE)
    }

    /// The node of the file that `path_fd` refers to, counted as one more lookup.
    pub fn intern(&self, path_fd: OwnedFd, stat: &Stat) -> u64 {
        let mut tables = self.lock();
        let identity = identity(stat);
        if let Some(&node) = tables.by_identity.get(&identity)
            && let Some(inode) = tables.by_node.get_mut(&node)
        {
            inode.lookups += 1;
            return node;
        }
        let node = tables.free_node(stat.st_ino);
        tables.insert(node, path_fd, identity);
        node
    }

    /// Takes back `count` lookups; the last one lets go of the file.
    pub fn forget(&self, node: u64, count: u64) {
        let mut tables = self.lock();
        let Some(inode) = tables.by_node.get_mut(&node) else { return };
        inode.lookups = inode.lookups.saturating_sub(count);
        if inode.lookups == 0 && node != ROOT {
            let identity = inode.identity;
            tables.by_identity.remove(&identity);
            tables.by_node.remove(&node);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn insert(&mut self, node: u64, path_fd: OwnedFd, identity: (u64, u64)) {
        self.by_identity.insert(identity, node);
        self.by_node.insert(node, Inode { path_fd: Arc::new(path_fd), identity, lookups: 1 });
    }

    fn free_node(&mut self, wanted: u64) -> u64 {
        let mut node = wanted;
        while node <= ROOT || self.by_node.contains_key(&node) {
            node = FIRST_ALIAS + self.aliases;
            self.aliases += 1;
        }
        node
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
