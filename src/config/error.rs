//! Everything that is wrong with a configuration, in one error.

use std::fmt;
use std::path::PathBuf;

/// Where a value stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line; holds the flag, such as `--pgurl`.
    Flag(&'static str),
    /// In the process's environment; holds the variable.
    Environment(String),
    /// In the configuration file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The key, or its path in YAML.
        key: String,
        /// Where in the file, if that is known.
        position: Option<Position>,
    },
    /// Nowhere: the key's default, or its absence.
    Unset(&'static str),
}

/// A place in a text file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::File { path, key, position } => {
                write!(f, "{}", path.display())?;
                if let Some(Position { line, column }) = position {
                    write!(f, ":{line}:{column}")?;
                }
                match key.as_str() {
                    "" => Ok(()),
                    key => write!(f, ": {key}"),
                }
            }
            Self::Unset(key) => f.write_str(key),
        }
    }
}

/// One thing that is wrong. Its text never holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the value stood; `None` where the file as a whole is the problem.
    pub origin: Option<Origin>,
    /// What is wrong with it, and what to write instead.
    pub text: String,
}

impl Problem {
    pub(super) fn new(origin: Origin, text: impl Into<String>) -> Self {
        Self {
            origin: Some(origin),
            text: text.into(),
        }
    }

    pub(super) fn of_file(text: impl Into<String>) -> Self {
        Self {
            origin: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// A configuration that cannot be used, with all its problems; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems, in the order of the keys.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [problem] => write!(f, "invalid configuration: {problem}"),
            problems => {
                write!(f, "invalid configuration, {} problems:", problems.len())?;
                problems
                    .iter()
                    .try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}
