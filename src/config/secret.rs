//! A value that no log line, error or debug print may show.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// What stands in for a secret wherever it would be printed.
const MASK: &str = "***";

/// A password, or another text that only the peer it is meant for may see.
///
/// `Debug` and `Display` print a mask; [`Secret::expose`] is the only way to the text, so that each use can be
/// found by its name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text that must not be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the peer that asks for it, never for a log line or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Any text can be a secret: for command lines, whose options are read by `FromStr`.
impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_expose_shows_the_text() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "*** *** Some(***)"
        );
        assert_eq!(secret.expose(), "hunter2");
    }
}
