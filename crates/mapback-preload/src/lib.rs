//! The interposer: loaded by `LD_PRELOAD` into an unmodified program, it puts mapback between the program and
//! the kernel for the `mmap` family and for what must stay coherent with it.
//!
//! Each exported function has the name and the contract of libc's. The fast path of each is one or two loads and
//! a jump to the next definition of the symbol; only when a map or an image of ours is concerned does it do more.
//!
//! Nothing here uses the program's allocator: see [`alloc`].

mod alloc;
mod ends;
mod errno;
mod fds;
mod files;
mod fills;
mod maps;
mod next;
mod reads;
mod settings;
mod signals;
mod streams;
mod syscalls;
mod times;
mod users;
mod writes;

use mapback::posix::Space;
use std::sync::OnceLock;

/// Allocates for this library alone.
#[global_allocator]
static ALLOCATOR: alloc::Own = alloc::Own;

static SPACE: OnceLock<Space> = OnceLock::new();

/// The address space of this process, made at the first call that needs it: that may be before any constructor.
fn space() -> &'static Space {
    SPACE.get_or_init(settings::space)
}

/// The space, if there is one yet: for calls that need not make it.
fn existing() -> Option<&'static Space> {
    SPACE.get()
}

/// The space, if the file behind a descriptor may have an image, here or in another process.
#[inline]
fn concerned(fd: core::ffi::c_int) -> Option<&'static Space> {
    if mapback::posix::may_have_image(fd) { existing() } else { None }
}

/// The space, if any file may have an image.
#[inline]
fn any_images() -> Option<&'static Space> {
    if mapback::posix::may_have_images() { existing() } else { None }
}

/// A descriptor stands for something else from now on, or for nothing.
#[inline]
fn forget_fd(fd: core::ffi::c_int) {
    mapback::posix::forget_fd(fd);
}

/// Runs when the library is loaded, before the program's own constructors.
extern "C" fn begin() {
    // The standard hook writes through libc's `write`, which is ours, and may wait for a lock that is held.
    std::panic::set_hook(Box::new(|info| {
        settings::report(&format!("internal error: {info}. Please report it"));
        ends::kill_by_abort()
    }));
    space().begin();
    ends::register();
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;
