//! Unix systems that have no back end of their own yet: memory, for the trackers `compare` and `whole`.

pub(crate) mod mem;
