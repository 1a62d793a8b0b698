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
    /// PostgreSQL refuses what is needed, and will until somebody does something about it: trying again does not help.
    Refused,
    /// The source is not what was streamed before, and going on could leave commits out.
    Gap,
    /// The source has a transaction that it cannot send.
    Unsendable,
    /// Nothing could be looked at.
    Unknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage | Exit::Unknown => 2,
            Exit::Refused => 3,
            Exit::Gap => 4,
            Exit::Unsendable => 5,
        })
    }
}
