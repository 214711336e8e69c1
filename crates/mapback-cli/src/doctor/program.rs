//! Whether a program is within reach of the interposer.

use std::path::Path;

use super::report::{Section, Verdict};
use crate::elf;

/// Looks at one program.
pub fn look(path: &Path) -> Section {
    let mut section = Section::new(format!("Program {}", path.display()));
    let found = elf::look(path);
    let who = if found.program == path {
        "the program".to_owned()
    } else {
        format!("a script, run by {}, which", found.program.display())
    };
    match found.unreachable {
        None if found.program == path => {
            section.add(Verdict::Yes, "dynamically linked, and within reach of `mapback run`");
        }
        None => {
            let interpreter = found.program.display();
            section
                .add(Verdict::Yes, format!("a script, run by {interpreter}, within reach of `mapback run`"));
        }
        Some(why) => section.advise(Verdict::Obstacle, format!("out of reach: {who} {why}"), why.advice()),
    }
    section
}
