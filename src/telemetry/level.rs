//! The levels and formats of the log, as the command line names them.

use std::str::FromStr;

use slog::Level;

use crate::config::suggest::nearest;

/// The least important level that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything, payloads included.
    Trace,
    /// What the program decides.
    Debug,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What will become a problem.
    Warn,
    /// What is one.
    Error,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, message, fields; coloured on a terminal.
    #[default]
    Console,
    /// For machines: one JSON object a line.
    Json,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::Trace,
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warn => Self::Warning,
            LogLevel::Error => Self::Error,
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            _ => Err(refusal(text, &["trace", "debug", "info", "warn", "error"])),
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "console" => Ok(Self::Console),
            "json" => Ok(Self::Json),
            _ => Err(refusal(text, &["console", "json"])),
        }
    }
}

fn refusal(text: &str, known: &[&str]) -> String {
    let known_names = known.join(", ");
    match nearest(text, known.iter().copied()) {
        Some(name) => format!("must be one of {known_names}: did you mean {name}?"),
        None => format!("must be one of {known_names}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for (text, expected) in [
            ("trace", Ok(LogLevel::Trace)),
            ("INFO", Ok(LogLevel::Info)),
            ("warning", Ok(LogLevel::Warn)),
            (
                "trce",
                Err("must be one of trace, debug, info, warn, error: did you mean trace?".to_owned()),
            ),
            (
                "5",
                Err("must be one of trace, debug, info, warn, error".to_owned()),
            ),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }

    #[test]
    fn formats() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("console".parse(), Ok(LogFormat::Console));
        assert!("yaml".parse::<LogFormat>().is_err());
    }
}
