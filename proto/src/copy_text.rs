//! Rows of `COPY … TO STDOUT` in its text format.
//!
//! A row is a line: its fields stand between tabs, `\N` is NULL, and what would be mistaken for either is written with a
//! backslash. Source: <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.55.9.2>.
//!
//! Owns: where a field begins and ends, and its way into a JSON string, escaped as wal2json escapes it. The escapes of both
//! are the same but for those of the quote and the vertical tab, so that hardly a byte is looked at by itself. Must not
//! know: what type a field has.

use std::fmt::Write;

use crate::wal2json::plain_prefix;

/// What a server never writes into a row of COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// It is not UTF-8, from this byte on.
    #[error("a row that is not UTF-8, from byte {0} on")]
    NotUtf8(usize),
    /// A backslash stands before what it cannot.
    #[error("a field with an unknown escape")]
    Escape,
}

/// The fields of a row, read one after another.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    /// What is left of the row; none behind the last field.
    rest: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Those of a row: what one message of COPY holds, its end of line included or not.
    ///
    /// # Errors
    /// [`CopyError::NotUtf8`]
    pub fn of(row: &'a [u8]) -> Result<Self, CopyError> {
        let row = row.strip_suffix(b"\n").unwrap_or(row);
        let text = std::str::from_utf8(row).map_err(|error| CopyError::NotUtf8(error.valid_up_to()))?;
        Ok(Self { rest: Some(text) })
    }

    /// Whether all fields have been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.rest.is_none()
    }

    /// Reads a field if it is NULL.
    pub fn null(&mut self) -> bool {
        let behind = self.rest.and_then(|rest| rest.strip_prefix(r"\N"));
        let (is_null, rest) = match behind {
            Some("") => (true, None),
            Some(behind) if behind.starts_with('\t') => (true, Some(&behind[1..])),
            _ => (false, self.rest),
        };
        self.rest = rest;
        is_null
    }

    /// The next field as it stands in the row: its text, if that has nothing that is escaped.
    pub fn raw(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        match rest.bytes().position(|byte| byte == b'\t') {
            Some(end) => {
                self.rest = Some(&rest[end + 1..]);
                Some(&rest[..end])
            }
            None => self.rest.take(),
        }
    }

    /// Moves over the two characters that begin the text of every `bytea`: of `\x` the backslash is written twice.
    pub fn skip_hex_prefix(&mut self) {
        self.rest = self.rest.map(|rest| rest.strip_prefix(r"\\x").unwrap_or(rest));
    }

    /// Appends the text of the next field as a JSON string, as wal2json writes it. False if there is none.
    ///
    /// # Errors
    /// [`CopyError::Escape`]; what was appended until then stays.
    pub fn push_json(&mut self, out: &mut String) -> Result<bool, CopyError> {
        let Some(mut left) = self.rest else {
            return Ok(false);
        };
        out.push('"');
        loop {
            let (plain, behind) = left.split_at(plain_prefix(left.as_bytes()));
            out.push_str(plain);
            left = match behind.bytes().next() {
                None => {
                    self.rest = None;
                    break;
                }
                Some(b'\t') => {
                    self.rest = Some(&behind[1..]);
                    break;
                }
                Some(b'\\') => {
                    // A backslash before a character of several bytes ends within it.
                    let escape = behind.get(..2).ok_or(CopyError::Escape)?;
                    match escape {
                        r"\v" => out.push_str("\\u000b"),
                        r"\\" | r"\b" | r"\f" | r"\n" | r"\r" | r"\t" => out.push_str(escape),
                        _ => return Err(CopyError::Escape),
                    }
                    &behind[2..]
                }
                Some(b'"') => {
                    out.push_str("\\\"");
                    &behind[1..]
                }
                Some(control) => {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{control:04x}");
                    &behind[1..]
                }
            };
        }
        out.push('"');
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(field: &str) -> Result<String, CopyError> {
        let mut out = String::new();
        Fields::of(field.as_bytes())?.push_json(&mut out).map(|_| out)
    }

    /// What the server writes for a text, in the plainest words.
    fn copied(text: &str) -> String {
        let mut field = String::new();
        for character in text.chars() {
            match character {
                '\u{8}' => field.push_str("\\b"),
                '\u{c}' => field.push_str("\\f"),
                '\n' => field.push_str("\\n"),
                '\r' => field.push_str("\\r"),
                '\t' => field.push_str("\\t"),
                '\u{b}' => field.push_str("\\v"),
                '\\' => field.push_str("\\\\"),
                other => field.push(other),
            }
        }
        field
    }

    #[test]
    fn a_row_is_its_fields() {
        let mut fields = Fields::of(b"a\t\t\\N\tb c\n").unwrap();
        let mut out = String::new();
        assert_eq!((fields.null(), fields.raw()), (false, Some("a")));
        assert!(fields.push_json(&mut out).unwrap());
        assert!(fields.null() && !fields.is_at_end());
        assert!(fields.push_json(&mut out).unwrap() && fields.is_at_end());
        assert_eq!(out, r#""""b c""#);
        assert_eq!(
            (fields.null(), fields.raw(), fields.push_json(&mut out)),
            (false, None, Ok(false))
        );
        let mut fields = Fields::of(b"\\\\N\t\\Nx\t\\N").unwrap();
        assert_eq!((fields.null(), fields.raw()), (false, Some(r"\\N")));
        assert_eq!((fields.null(), fields.raw()), (false, Some(r"\Nx")));
        assert!(fields.null() && fields.is_at_end());
        // Of a table without columns.
        let mut fields = Fields::of(b"\n").unwrap();
        assert_eq!((fields.raw(), fields.raw()), (Some(""), None));
        assert_eq!(Fields::of(b"ab\xff").unwrap_err(), CopyError::NotUtf8(2));
    }

    #[test]
    fn what_a_server_does_not_write_is_refused() {
        for field in ["\\", r"a\x41", r"\.", r"\é", r"\N", r"\101"] {
            assert_eq!(json(field), Err(CopyError::Escape), "{field}");
        }
    }

    #[test]
    fn bytea_loses_its_prefix() {
        let mut out = String::new();
        let mut fields = Fields::of(br"\\x00ff").unwrap();
        fields.skip_hex_prefix();
        fields.push_json(&mut out).unwrap();
        assert_eq!(out, r#""00ff""#);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(row in proptest::collection::vec(any::<u8>(), 0..60), steps in proptest::collection::vec(0..4_u8, 8)) {
            let Ok(mut fields) = Fields::of(&row) else { return Ok(()) };
            for step in steps {
                let mut out = String::new();
                match step {
                    0 => drop(fields.null()),
                    1 => drop(fields.raw()),
                    2 => fields.skip_hex_prefix(),
                    _ => {
                        if fields.push_json(&mut out) == Ok(true) {
                            prop_assert!(serde_json::from_str::<String>(&out).is_ok(), "{}", out);
                        }
                    }
                }
            }
        }

        #[test]
        fn the_text_of_a_field_is_that_of_its_json(text in any::<String>(), odd in "[\0-\x1f\"\\\\aé]{0,20}") {
            for text in [text, odd] {
                let json = json(&copied(&text)).unwrap();
                prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            }
        }
    }
}
