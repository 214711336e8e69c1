//! What the parent asks of a child, a line of JSON each way.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Change so many pages, chosen by the seed, and flush.
    Change { pages: usize, seed: u64 },
    /// Change so many pages that were just flushed; the flush afterwards does not count.
    FirstStore { pages: usize, random: bool, seed: u64 },
    /// Flush when nothing changed.
    Clean,
    /// Ask which pages changed, after so many did.
    Collect { pages: usize, seed: u64 },
    /// Map the file a second time.
    SecondMap,
    /// Unmap the file and map it again, from the page cache or from the device.
    Open { cold: bool },
}

/// Values by name.
pub(crate) type Reply = BTreeMap<String, f64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_one_line() {
        let task = Task::Change { pages: 3, seed: 7 };
        let line = serde_json::to_string(&task).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Task>(&line).unwrap(), task);
    }
}
