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

    /// A mistake in what is said to the command that `path` leads to, from the outermost in; none is the program.
    pub(super) fn of(path: &[&CommandInfoWithArgs], message: impl Into<String>) -> Self {
        let names: Vec<&str> = path.iter().map(|command| command.name).collect();
        Self {
            message: message.into(),
            command: (!names.is_empty()).then(|| names.join(" ")),
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
