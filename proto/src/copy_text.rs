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

/// The fields of a row.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: Option<&'a str>,
}

/// The text of a field, as it stands in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a>(&'a str);

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
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = self.rest?;
        let field = match rest.split_once('\t') {
            Some((field, behind)) => {
                self.rest = Some(behind);
                field
            }
            None => {
                self.rest = None;
                rest
            }
        };
        Some(Field(field))
    }
}

impl<'a> Field<'a> {
    /// Whether it is NULL.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == r"\N"
    }

    /// Its bytes as they stand in the row: the text itself, if it has no backslash.
    #[must_use]
    pub fn raw(self) -> &'a str {
        self.0
    }

    /// The field without the two characters that begin the text of every `bytea`: of `\x` the backslash is written twice.
    #[must_use]
    pub fn without_hex_prefix(self) -> Self {
        Self(self.0.strip_prefix(r"\\x").unwrap_or(self.0))
    }

    /// Appends its text as a JSON string, as wal2json writes it.
    ///
    /// # Errors
    /// [`CopyError::Escape`]; what was appended until then stays.
    pub fn push_json(self, out: &mut String) -> Result<(), CopyError> {
        out.push('"');
        let mut left = self.0;
        loop {
            let (plain, behind) = left.split_at(plain_prefix(left.as_bytes()));
            out.push_str(plain);
            let Some(special) = behind.bytes().next() else {
                break;
            };
            left = match special {
                b'\\' => {
                    // A backslash before a character of several bytes ends within it.
                    let escape = behind.get(..2).ok_or(CopyError::Escape)?;
                    match escape {
                        r"\v" => out.push_str("\\u000b"),
                        r"\\" | r"\b" | r"\f" | r"\n" | r"\r" | r"\t" => out.push_str(escape),
                        _ => return Err(CopyError::Escape),
                    }
                    &behind[2..]
                }
                b'"' => {
                    out.push_str("\\\"");
                    &behind[1..]
                }
                control => {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{control:04x}");
                    &behind[1..]
                }
            };
        }
        out.push('"');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(field: &str) -> Result<String, CopyError> {
        let mut out = String::new();
        Field(field).push_json(&mut out).map(|()| out)
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
        let fields: Vec<&str> = Fields::of(b"a\t\t\\N\tb c\n").unwrap().map(Field::raw).collect();
        assert_eq!(fields, ["a", "", r"\N", "b c"]);
        let nulls: Vec<bool> = Fields::of(b"\\N\t\\\\N\t").unwrap().map(Field::is_null).collect();
        assert_eq!(nulls, [true, false, false]);
        // COPY of no columns at all.
        assert_eq!(Fields::of(b"\n").unwrap().count(), 1);
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
        Field(r"\\x00ff")
            .without_hex_prefix()
            .push_json(&mut out)
            .unwrap();
        assert_eq!(out, r#""00ff""#);
    }

    proptest! {
        #[test]
        fn the_text_of_a_field_is_that_of_its_json(text in any::<String>(), odd in "[\0-\x1f\"\\\\aé]{0,20}") {
            for text in [text, odd] {
                let json = json(&copied(&text)).unwrap();
                prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            }
        }
    }
}
