//! Windows interrupts no thread to run a handler of the program's: there is nothing to block.

/// Stands for the blocked signals of other systems.
#[derive(Debug, Default)]
pub struct Blocked;

impl Blocked {
    /// Does nothing.
    pub fn new() -> Blocked {
        Blocked
    }
}
