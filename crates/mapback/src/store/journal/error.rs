//! Why a journal is not believed.

use std::io;

/// Why a journal cannot be used. The file that it belongs to is not touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Reading it failed.
    #[error("cannot read the journal: {0}. Changes may be in it, so the file is not opened")]
    Read(#[source] io::Error),
    /// Opening or making it failed.
    #[error("cannot open the journal: {0}. Name another place for it by MmapOptions::journal")]
    Open(#[source] io::Error),
    /// It was made for another file.
    #[error(
        "the journal belongs to another file, which was replaced, or moved without it. Remove the journal if the file \
         is as you want it"
    )]
    OtherFile,
    /// Another program, or another map of this one, has it open.
    #[error("the journal is in use: another program has uncommitted or unwritten changes of this file")]
    InUse,
    /// It was made, or may be written, by somebody who may not write the file.
    #[error("the journal is of another user, who may not write the file: remove it")]
    Stranger,
    /// It has commits that are not in the file, which must not be written to by this process, or the journal must not.
    #[error(
        "the journal has {0} bytes that were committed and are not in the file yet: have the file mapped once by somebody \
         who may write both"
    )]
    Waiting(u64),
    /// A version of mapback made it that this one does not know.
    #[error(
        "the journal is of version {0}, which this mapback does not know: open the file with a newer one"
    )]
    Version(u64),
    /// It is damaged, and not in a way that a crash explains.
    #[error(
        "the journal is damaged at byte {at}: {why}. Changes that were committed may be lost: restore the file from a \
         backup, or remove the journal to go on with the file as it is"
    )]
    Damaged {
        /// The byte of the journal.
        at: u64,
        /// What is wrong there.
        why: String,
    },
}
