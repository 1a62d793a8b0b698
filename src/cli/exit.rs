//! What the program tells its caller.

use std::process::ExitCode;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Success,
    /// It tried and failed; trying again may help.
    Failure,
    /// The arguments or the configuration are wrong; trying again does not help.
    Usage,
    /// Nothing could be looked at.
    Unknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage | Exit::Unknown => 2,
        })
    }
}
