//! What went wrong before the program ran, and the exit status that tells so.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// mapback's own failures, as with env(1) and timeout(1).
pub const OWN: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Says something on stderr. That nobody can hear it is no reason to fail, as `eprintln!` would.
pub fn say(message: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "mapback: {message}");
}

/// A message for the user and the exit status that goes with it.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// mapback itself failed.
    pub fn own(message: impl Into<String>) -> Self {
        Failure { code: OWN, message: message.into() }
    }

    /// The program is there but cannot be run.
    pub fn not_executable(message: impl Into<String>) -> Self {
        Failure { code: NOT_EXECUTABLE, message: message.into() }
    }

    /// There is no such program.
    pub fn not_found(message: impl Into<String>) -> Self {
        Failure { code: NOT_FOUND, message: message.into() }
    }

    /// The exit status to end with.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
