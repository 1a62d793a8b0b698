//! A JSON string as it stands in a record.

use std::borrow::Cow;
use std::fmt;

use super::escape;

/// A valid JSON string, kept as it is written.
///
/// Output wants the raw form, which needs no escaping again; comparison wants the text. Two different raw forms
/// may be the same text (`"é"` and `"\u00e9"`), so equality is equality of the text.
#[derive(Clone, Copy)]
pub struct JsonStr<'a> {
    raw: &'a str,
}

/// A part of a string's text.
enum Piece<'a> {
    Plain(&'a str),
    Escaped(char),
}

impl<'a> JsonStr<'a> {
    /// The empty string.
    pub const EMPTY: JsonStr<'static> = JsonStr { raw: "\"\"" };

    /// Wraps what the cursor has scanned: a whole valid JSON string, quotes included.
    pub(super) fn from_scanned(raw: &'a str) -> Self {
        debug_assert!(raw.len() >= 2 && raw.starts_with('"') && raw.ends_with('"'));
        Self { raw }
    }

    /// The string as it stands, with its quotes and escapes: a JSON value ready for output.
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// The text the string stands for, borrowed if nothing in it is escaped.
    pub fn unescape(self) -> Cow<'a, str> {
        let body = self.body();
        if !body.contains('\\') {
            return Cow::Borrowed(body);
        }
        let mut text = String::with_capacity(body.len());
        for piece in self.pieces() {
            match piece {
                Piece::Plain(plain) => text.push_str(plain),
                Piece::Escaped(character) => text.push(character),
            }
        }
        Cow::Owned(text)
    }

    /// Whether the string stands for this text, without allocating.
    pub fn is(self, text: &str) -> bool {
        let body = self.body();
        if !body.contains('\\') {
            return body == text;
        }
        let mut left = text;
        for piece in self.pieces() {
            let behind = match piece {
                Piece::Plain(plain) => left.strip_prefix(plain),
                Piece::Escaped(character) => left.strip_prefix(character),
            };
            match behind {
                Some(behind) => left = behind,
                None => return false,
            }
        }
        left.is_empty()
    }

    /// What stands between the quotes.
    fn body(self) -> &'a str {
        &self.raw[1..self.raw.len() - 1]
    }

    fn pieces(self) -> impl Iterator<Item = Piece<'a>> {
        let mut left = self.body();
        std::iter::from_fn(move || {
            if left.starts_with('\\') {
                let (character, length) = escape::decode(left.as_bytes())
                    .expect("the cursor has decoded every escape of this string");
                left = &left[length..];
                return Some(Piece::Escaped(character));
            }
            let (plain, behind) = left.split_at(left.find('\\').unwrap_or(left.len()));
            left = behind;
            (!plain.is_empty()).then_some(Piece::Plain(plain))
        })
    }

    fn chars(self) -> impl Iterator<Item = char> {
        self.pieces().flat_map(|piece| {
            let (plain, escaped) = match piece {
                Piece::Plain(plain) => (plain, None),
                Piece::Escaped(character) => ("", Some(character)),
            };
            plain.chars().chain(escaped)
        })
    }
}

impl PartialEq for JsonStr<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw || self.chars().eq(other.chars())
    }
}

impl Eq for JsonStr<'_> {}

impl PartialEq<str> for JsonStr<'_> {
    fn eq(&self, text: &str) -> bool {
        self.is(text)
    }
}

impl PartialEq<&str> for JsonStr<'_> {
    fn eq(&self, text: &&str) -> bool {
        self.is(text)
    }
}

impl fmt::Debug for JsonStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::JsonStr;

    #[test]
    fn text_is_compared_unescaped() {
        for (raw, text) in [
            (r#""""#, ""),
            (r#""public""#, "public"),
            (r#""\u0070ublic""#, "public"),
            (r#""say \"hi\"""#, r#"say "hi""#),
            (r#""a\\nb""#, r"a\nb"),
            (r#""a\nb""#, "a\nb"),
            (r#""\/""#, "/"),
            (r#""é\u00e9""#, "éé"),
            (r#""\ud83d\ude00😀""#, "😀😀"),
        ] {
            let string = JsonStr::from_scanned(raw);
            assert_eq!(string.raw(), raw);
            assert_eq!(string.unescape(), text, "{raw}");
            assert_eq!(string, text, "{raw}");
            assert_eq!(string, *text, "{raw}");
            for other in [
                format!("{text}x"),
                format!("x{text}"),
                raw[1..raw.len() - 1].to_owned(),
            ] {
                assert_eq!(string.is(&other), other == text, "{raw} against {other}");
            }
        }
    }

    #[test]
    fn spelling_does_not_matter_and_plain_text_is_borrowed() {
        let plain = JsonStr::from_scanned(r#""é""#);
        assert_eq!(plain, JsonStr::from_scanned(r#""\u00e9""#));
        assert_ne!(plain, JsonStr::from_scanned(r#""\u00e8""#));
        assert_ne!(
            JsonStr::from_scanned(r#""a\n""#),
            JsonStr::from_scanned(r#""a\\n""#)
        );
        assert!(matches!(plain.unescape(), Cow::Borrowed("é")));
        assert_eq!(format!("{plain:?}"), r#""é""#);
    }

    proptest! {
        #[test]
        fn any_text_survives_serde_json(text in any::<String>(), other in any::<String>()) {
            let raw = serde_json::to_string(&text).unwrap();
            let string = JsonStr::from_scanned(&raw);
            prop_assert_eq!(string.unescape(), text.as_str());
            prop_assert!(string.is(&text));
            prop_assert_eq!(string.is(&other), text == other);
        }
    }
}
