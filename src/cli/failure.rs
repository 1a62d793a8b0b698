//! A command that could not do its work: what is printed, and the exit code that it leads to.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use slog::{Logger, crit};

use super::exit::Exit;
use crate::config::ConfigError;
use crate::run::{Ending, RunError};
use crate::telemetry::LogFormat;

/// An error on its way out of the program.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    /// Nothing where the command has said all there is to say.
    error: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure of the work itself.
    pub fn of_work(error: impl Error + Send + Sync + 'static) -> Self {
        Self {
            exit: Exit::Failure,
            error: Some(Box::new(error)),
        }
    }

    /// A failure that another value of a flag or a key avoids.
    pub fn of_usage(error: impl Error + Send + Sync + 'static) -> Self {
        Self {
            exit: Exit::Usage,
            error: Some(Box::new(error)),
        }
    }

    /// An end that the command has explained in what it printed.
    pub(super) const fn told(exit: Exit) -> Self {
        Self { exit, error: None }
    }

    /// Tells the operator: as text on stderr, or where the log is for machines, as a line of it.
    pub(super) fn report(&self, format: LogFormat, log: &Logger) -> Exit {
        match format {
            _ if self.error.is_none() => {}
            LogFormat::Console => {
                // Without stderr there is nobody to tell; the exit code remains.
                let _ = writeln!(io::stderr(), "error: {self}");
            }
            LogFormat::Json => crit!(log, "{}", self),
        }
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = &self.error else {
            return Ok(());
        };
        write!(f, "{error}")?;
        let mut cause = error.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self {
            exit: match error.ending() {
                Ending::Failure => Exit::Failure,
                Ending::Refused => Exit::Refused,
                Ending::Gap => Exit::Gap,
                Ending::Unsendable => Exit::Unsendable,
            },
            error: Some(Box::new(error)),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::of_usage(error)
    }
}
