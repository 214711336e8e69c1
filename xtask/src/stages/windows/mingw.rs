//! What mingw is called.

/// Its target, as Rust names it.
pub(super) const GNU: &str = "x86_64-pc-windows-gnu";
/// Its C compiler.
pub(super) const CC: &str = "x86_64-w64-mingw32-gcc";
