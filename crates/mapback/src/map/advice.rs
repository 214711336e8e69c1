//! What a program can tell the kernel about its use of a map.

/// Advice that leaves the content alone: `madvise`'s.
///
/// It concerns the memory of the map, not the page cache of the file. memmap2's `HwPoison` is not here: it makes
/// memory unusable, so that a safe function must not give it.
#[cfg(target_os = "linux")]
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// No special treatment: the default.
    Normal = 0,
    /// Accesses in no order.
    Random = 1,
    /// Accesses in order.
    Sequential = 2,
    /// It will be used soon. The content was loaded when the map was made.
    WillNeed = 3,
    /// A forked child shall not have it.
    DontFork = 10,
    /// Undoes `DontFork`.
    DoFork = 11,
    /// Pages with the same content may be merged (KSM).
    Mergeable = 12,
    /// Undoes `Mergeable`.
    Unmergeable = 13,
    /// Huge pages, where they are to be had.
    HugePage = 14,
    /// No huge pages.
    NoHugePage = 15,
    /// Leave it out of core dumps.
    DontDump = 16,
    /// Undoes `DontDump`.
    DoDump = 17,
    /// Make all pages readable now.
    PopulateRead = 22,
    /// Make all pages writable now. They count as changed afterwards.
    PopulateWrite = 23,
}

/// Advice that may take content away.
///
/// Anonymous maps lose it. A map of a file keeps its content, as the kernel's own shared maps do: the advice is passed
/// over.
#[cfg(target_os = "linux")]
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
#[non_exhaustive]
pub enum UncheckedAdvice {
    /// The content is not needed any more.
    DontNeed = 4,
    /// The kernel may take the content when it needs memory.
    Free = 8,
    /// The content is gone, also from what is behind it. Not for private memory, so that the kernel refuses it.
    Remove = 9,
}

/// The methods on advice and locking that all maps share.
macro_rules! advice_methods {
    () => {
        /// Advises the kernel on the use of the map's memory.
        ///
        /// # Errors
        /// Those of `madvise`: `EINVAL` for advice that the kernel does not know.
        ///
        /// # Platforms
        /// Linux.
        #[cfg(target_os = "linux")]
        pub fn advise(&self, advice: crate::Advice) -> std::io::Result<()> {
            self.handle.working.advise(0..self.handle.len(), advice as i32)
        }

        /// As [`advise`](Self::advise), for `len` bytes from `offset` on, widened to pages.
        ///
        /// # Errors
        /// Those of `madvise`; `InvalidInput` for a range that is not inside the map.
        ///
        /// # Platforms
        /// Linux.
        #[cfg(target_os = "linux")]
        pub fn advise_range(&self, advice: crate::Advice, offset: usize, len: usize) -> std::io::Result<()> {
            self.handle.working.advise(self.handle.range(offset, len)?, advice as i32)
        }

        /// Gives advice that may take content away. A map of a file keeps its content all the same.
        ///
        /// # Safety
        /// Nobody may hold a reference to the bytes or rely on them.
        ///
        /// # Errors
        /// Those of `madvise`.
        ///
        /// # Platforms
        /// Linux.
        #[cfg(target_os = "linux")]
        pub unsafe fn unchecked_advise(&self, advice: crate::UncheckedAdvice) -> std::io::Result<()> {
            // SAFETY: the caller's word.
            unsafe { self.handle.working.advise_away(0..self.handle.len(), advice as i32) }
        }

        /// As [`unchecked_advise`](Self::unchecked_advise), for `len` bytes from `offset` on, widened to pages.
        ///
        /// # Safety
        /// Nobody may hold a reference to the pages or rely on their bytes.
        ///
        /// # Errors
        /// Those of `madvise`; `InvalidInput` for a range that is not inside the map.
        ///
        /// # Platforms
        /// Linux.
        #[cfg(target_os = "linux")]
        pub unsafe fn unchecked_advise_range(
            &self,
            advice: crate::UncheckedAdvice,
            offset: usize,
            len: usize,
        ) -> std::io::Result<()> {
            let range = self.handle.range(offset, len)?;
            // SAFETY: the caller's word.
            unsafe { self.handle.working.advise_away(range, advice as i32) }
        }

        /// Keeps the map's memory from being swapped out.
        ///
        /// # Errors
        /// `ENOMEM` or `EPERM` past the limit on locked memory; on Windows that is the process's minimum working set.
        pub fn lock(&self) -> std::io::Result<()> {
            self.handle.working.lock_in_memory()
        }

        /// Ends [`lock`](Self::lock).
        ///
        /// # Errors
        /// Those of `munlock`.
        pub fn unlock(&self) -> std::io::Result<()> {
            self.handle.working.unlock_from_memory()
        }
    };
}

pub(super) use advice_methods;
