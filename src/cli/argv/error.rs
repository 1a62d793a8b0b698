//! Arguments that cannot be understood.

use std::fmt;

use argh::CommandInfoWithArgs;

/// Arguments that cannot be understood, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    message: String,
    command: Option<String>,
}

impl UsageError {
    /// A mistake that belongs to no command in particular.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            command: None,
        }
    }

    pub(super) fn of(command: &CommandInfoWithArgs, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            command: Some(command.name.to_owned()),
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self
            .command
            .as_ref()
            .map_or_else(String::new, |command| format!("{command} "));
        write!(
            f,
            "{}\nRun `pgstream {command}--help` to see what can be written.",
            self.message
        )
    }
}

impl std::error::Error for UsageError {}
