//! memmap2's names over mapback's maps: only for running other crates' tests.
//!
//! It takes whatever memmap2 takes and asks for what the kernel's maps do: on a conflict, overwrite.

#![allow(missing_docs, clippy::missing_safety_doc, clippy::missing_errors_doc, clippy::len_without_is_empty)]

pub use mapback::{Advice, MmapAsRawDesc, MmapRawDescriptor, RemapOptions, UncheckedAdvice};
use mapback::OnConflict;
use std::io::Result;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;

#[derive(Clone, Debug)]
pub struct MmapOptions(mapback::MmapOptions);

impl Default for MmapOptions {
    fn default() -> Self {
        let mut options = mapback::MmapOptions::new();
        options.on_conflict(OnConflict::Overwrite);
        MmapOptions(options)
    }
}

/// The descriptor, which memmap2's callers vouch for.
fn fd<'fd>(file: impl MmapAsRawDesc) -> BorrowedFd<'fd> {
    // SAFETY: memmap2 has the same contract: the descriptor is open through the call that maps it.
    unsafe { file.as_raw_desc().borrow() }
}

macro_rules! setters {
    ($($name:ident($($arg:ident: $type:ty)?);)*) => {$(
        pub fn $name(&mut self $(, $arg: $type)?) -> &mut Self {
            self.0.$name($($arg)?);
            self
        }
    )*};
}

impl MmapOptions {
    pub fn new() -> MmapOptions {
        MmapOptions::default()
    }

    setters! {
        offset(offset: u64);
        len(len: usize);
        huge(page_bits: Option<u8>);
        stack();
        populate();
        no_reserve_swap();
    }

    pub fn no_probe_handle(&mut self) -> &mut Self {
        self
    }

    pub unsafe fn map<T: MmapAsRawDesc>(&self, file: T) -> Result<Mmap> {
        self.0.map(fd(file)).map(Mmap)
    }

    pub unsafe fn map_exec<T: MmapAsRawDesc>(&self, file: T) -> Result<Mmap> {
        self.0.map_exec(fd(file)).map(Mmap)
    }

    pub unsafe fn map_mut<T: MmapAsRawDesc>(&self, file: T) -> Result<MmapMut> {
        self.0.map_mut(fd(file)).map(MmapMut)
    }

    pub unsafe fn map_copy<T: MmapAsRawDesc>(&self, file: T) -> Result<MmapMut> {
        self.0.map_copy(fd(file)).map(MmapMut)
    }

    pub unsafe fn map_copy_read_only<T: MmapAsRawDesc>(&self, file: T) -> Result<Mmap> {
        self.0.map_copy_read_only(fd(file)).map(Mmap)
    }

    pub fn map_anon(&self) -> Result<MmapMut> {
        self.0.map_anon().map(MmapMut)
    }

    pub fn map_raw<T: MmapAsRawDesc>(&self, file: T) -> Result<MmapRaw> {
        self.0.map_raw(fd(file)).map(MmapRaw)
    }

    pub fn map_raw_read_only<T: MmapAsRawDesc>(&self, file: T) -> Result<MmapRaw> {
        self.0.map_raw_read_only(fd(file)).map(MmapRaw)
    }
}

#[derive(Debug)]
pub struct Mmap(mapback::Mmap);

#[derive(Debug)]
pub struct MmapMut(mapback::MmapMut);

#[derive(Debug)]
pub struct MmapRaw(mapback::MmapRaw);

macro_rules! on_memory {
    ($type:ty) => {
        impl $type {
            pub fn advise(&self, advice: Advice) -> Result<()> {
                self.0.advise(advice)
            }

            pub unsafe fn unchecked_advise(&self, advice: UncheckedAdvice) -> Result<()> {
                unsafe { self.0.unchecked_advise(advice) }
            }

            pub fn advise_range(&self, advice: Advice, offset: usize, len: usize) -> Result<()> {
                self.0.advise_range(advice, offset, len)
            }

            pub unsafe fn unchecked_advise_range(
                &self,
                advice: UncheckedAdvice,
                offset: usize,
                len: usize,
            ) -> Result<()> {
                unsafe { self.0.unchecked_advise_range(advice, offset, len) }
            }

            pub fn lock(&self) -> Result<()> {
                self.0.lock()
            }

            pub fn unlock(&self) -> Result<()> {
                self.0.unlock()
            }

            #[allow(unused_unsafe)]
            pub unsafe fn remap(&mut self, new_len: usize, options: RemapOptions) -> Result<()> {
                unsafe { self.0.remap(new_len, options) }
            }
        }
    };
}

macro_rules! on_flush {
    ($type:ty) => {
        impl $type {
            pub fn flush(&self) -> Result<()> {
                self.0.flush()
            }

            pub fn flush_async(&self) -> Result<()> {
                self.0.flush_async()
            }

            pub fn flush_range(&self, offset: usize, len: usize) -> Result<()> {
                self.0.flush_range(offset, len)
            }

            pub fn flush_async_range(&self, offset: usize, len: usize) -> Result<()> {
                self.0.flush_async_range(offset, len)
            }
        }
    };
}

macro_rules! on_bytes {
    ($type:ty) => {
        impl Deref for $type {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $type {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        #[cfg(feature = "stable_deref_trait")]
        unsafe impl stable_deref_trait::StableDeref for $type {}

        impl From<$type> for MmapRaw {
            fn from(map: $type) -> MmapRaw {
                MmapRaw(map.0.into())
            }
        }
    };
}

on_memory!(Mmap);
on_memory!(MmapMut);
on_memory!(MmapRaw);
on_flush!(MmapMut);
on_flush!(MmapRaw);
on_bytes!(Mmap);
on_bytes!(MmapMut);

impl Mmap {
    pub unsafe fn map<T: MmapAsRawDesc>(file: T) -> Result<Mmap> {
        unsafe { MmapOptions::new().map(file) }
    }

    pub fn make_mut(self) -> Result<MmapMut> {
        self.0.make_mut().map(MmapMut)
    }
}

impl MmapMut {
    pub unsafe fn map_mut<T: MmapAsRawDesc>(file: T) -> Result<MmapMut> {
        unsafe { MmapOptions::new().map_mut(file) }
    }

    pub fn map_anon(length: usize) -> Result<MmapMut> {
        MmapOptions::new().len(length).map_anon()
    }

    pub fn make_read_only(self) -> Result<Mmap> {
        self.0.make_read_only().map(Mmap)
    }

    pub fn make_exec(self) -> Result<Mmap> {
        self.0.make_exec().map(Mmap)
    }
}

impl DerefMut for MmapMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl AsMut<[u8]> for MmapMut {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl MmapRaw {
    pub fn map_raw<T: MmapAsRawDesc>(file: T) -> Result<MmapRaw> {
        MmapOptions::new().map_raw(file)
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
