//! Text from the server.

use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::str::Utf8Error;

/// A string that the server sent, without its terminating zero: a slice of the read buffer.
///
/// It is UTF-8 once the connection's `client_encoding` is, but messages that come before (a refused login, say)
/// are in whatever encoding the server likes. Hence bytes with a checked and a lossy way to read them.
///
/// A long-lived copy should be made with [`Text::to_string_lossy`]: this type keeps the whole read buffer alive.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

impl Text {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Text(bytes)
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is UTF-8.
    ///
    /// # Errors
    ///
    /// Tells where the bytes stop being UTF-8.
    pub fn to_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.0)
    }

    /// The text, with U+FFFD in place of whatever is not UTF-8.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Text(Bytes::from_static(text.as_bytes()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_string_lossy())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string_lossy(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_utf8() {
        let text = Text::from("grün");
        assert_eq!(text, "grün");
        assert_eq!(text.to_str().unwrap(), "grün");
        assert_eq!(format!("{text} {text:?}"), "grün \"grün\"");
    }

    #[test]
    fn never_panics_on_other_encodings() {
        let text = Text::new(Bytes::from_static(b"gr\xFCn"));
        assert_eq!(text.to_str().unwrap_err().valid_up_to(), 2);
        assert_eq!(format!("{text} {text:?}"), "gr\u{FFFD}n \"gr\u{FFFD}n\"");
    }
}
