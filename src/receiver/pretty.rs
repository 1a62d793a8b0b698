//! JSON laid out for reading, token for token as it came.
//!
//! Nothing is parsed into values: keys keep their order and numbers their digits. Only white space between
//! tokens changes, and control characters that JSON allows but a terminal might obey are escaped.

use std::borrow::Cow;
use std::fmt::Write;

use serde::de::IgnoredAny;

const INDENT: &str = "  ";
const RESET: &str = "\x1b[0m";

/// The longest text shown of a body that is not JSON, in characters.
const TEXT_CHARACTERS: usize = 4_096;
/// The longest string that [`compact`] shows whole, in bytes of its JSON form.
const COMPACT_BYTES: usize = 160;

/// Lays out a JSON text with two spaces an indent, with terminal colours if wanted, without a final newline.
/// `None` when it is not JSON.
#[must_use]
pub fn json(body: &[u8], color: bool) -> Option<String> {
    lay_out(body, color, Density::Whole)
}

/// Like [`json`], for little room: what holds no further brackets stays on one line, and long strings are cut.
#[must_use]
pub fn compact(body: &[u8], color: bool) -> Option<String> {
    lay_out(body, color, Density::Compact)
}

fn lay_out(body: &[u8], color: bool, density: Density) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut layout = Layout {
        out: String::with_capacity(text.len() * 2),
        color,
        density,
        depth: 0,
        on_one_line: false,
    };
    layout.write(text);
    Some(layout.out)
}

/// Any bytes as one line that a terminal can show: escaped, and cut when it is long.
#[must_use]
pub fn text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut line: String = text
        .chars()
        .take(TEXT_CHARACTERS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(TEXT_CHARACTERS).is_some() {
        let _ = write!(line, "… ({} bytes in all)", body.len());
    }
    line
}

/// What a token is, which decides its colour.
#[derive(Clone, Copy)]
enum Token {
    Key,
    Text,
    Number,
    Literal,
}

impl Token {
    const fn color(self) -> &'static str {
        match self {
            Self::Key => "\x1b[34m",
            Self::Text => "\x1b[32m",
            Self::Number => "\x1b[36m",
            Self::Literal => "\x1b[35m",
        }
    }
}

/// How much room a layout takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Density {
    Whole,
    Compact,
}

struct Layout {
    out: String,
    color: bool,
    density: Density,
    depth: usize,
    /// Inside of brackets that began and end on the same line.
    on_one_line: bool,
}

impl Layout {
    /// Writes a text that is known to be JSON, so that every token ends where its first byte promises.
    fn write(&mut self, text: &str) {
        let mut rest = text.trim_start_matches(is_space);
        while let Some(first) = rest.bytes().next() {
            let length = match first {
                b'{' | b'[' => self.open(rest),
                b'}' | b']' => {
                    self.depth -= 1;
                    self.line();
                    self.out.push(char::from(first));
                    self.on_one_line = false;
                    1
                }
                b',' => {
                    self.out.push(',');
                    self.line();
                    1
                }
                b':' => {
                    self.out.push_str(": ");
                    1
                }
                b'"' => self.string(rest),
                b'-' | b'0'..=b'9' => self.bare(rest, Token::Number),
                _ => self.bare(rest, Token::Literal),
            };
            rest = rest[length..].trim_start_matches(is_space);
        }
    }

    /// An opening bracket, or both when there is nothing between them.
    fn open(&mut self, rest: &str) -> usize {
        let inside = rest[1..].trim_start_matches(is_space);
        self.out.push_str(&rest[..1]);
        if inside.starts_with(['}', ']']) {
            self.out.push_str(&inside[..1]);
            return rest.len() - inside.len() + 1;
        }
        self.depth += 1;
        self.on_one_line = self.density == Density::Compact && is_flat(inside);
        self.line();
        1
    }

    fn string(&mut self, rest: &str) -> usize {
        let length = string_length(rest);
        let is_key = rest[length..].trim_start_matches(is_space).starts_with(':');
        let kind = if is_key { Token::Key } else { Token::Text };
        match self.density {
            Density::Compact => self.token(&cut(&rest[..length]), kind),
            Density::Whole => self.token(&rest[..length], kind),
        }
        length
    }

    fn bare(&mut self, rest: &str, token: Token) -> usize {
        let end = |character| is_space(character) || matches!(character, ',' | ']' | '}' | ':');
        let length = rest.find(end).unwrap_or(rest.len());
        self.token(&rest[..length], token);
        length
    }

    fn token(&mut self, text: &str, token: Token) {
        if self.color {
            self.out.push_str(token.color());
        }
        let mut plain = text;
        while let Some(at) = plain.find(char::is_control) {
            self.out.push_str(&plain[..at]);
            let control = plain[at..].chars().next().expect("a character was found here");
            let _ = write!(self.out, "\\u{:04x}", u32::from(control));
            plain = &plain[at + control.len_utf8()..];
        }
        self.out.push_str(plain);
        if self.color {
            self.out.push_str(RESET);
        }
    }

    fn line(&mut self) {
        if self.on_one_line {
            return self.out.push(' ');
        }
        self.out.push('\n');
        for _ in 0..self.depth {
            self.out.push_str(INDENT);
        }
    }
}

/// Whether what is inside of brackets holds no others.
fn is_flat(mut inside: &str) -> bool {
    loop {
        inside = inside.trim_start_matches(|character| !matches!(character, '"' | '{' | '[' | '}' | ']'));
        match inside.bytes().next() {
            Some(b'"') => inside = &inside[string_length(inside)..],
            Some(b'{' | b'[') => return false,
            _ => return true,
        }
    }
}

/// The bytes of the string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let inner = text[1..].bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    inner.map_or(text.len(), |position| position + 2)
}

/// A JSON string that fits: a longer one ends in an ellipsis, and says how much is missing.
fn cut(string: &str) -> Cow<'_, str> {
    if string.len() <= COMPACT_BYTES {
        return Cow::Borrowed(string);
    }
    let mut end = 1;
    while end < COMPACT_BYTES {
        end += character_length(&string[end..]);
    }
    let (kept, missing) = string.split_at(end);
    match missing {
        "" | "\"" => Cow::Borrowed(string),
        missing => Cow::Owned(format!("{kept}… ({} more bytes)\"", missing.len() - 1)),
    }
}

/// The bytes of the character, maybe escaped, that the rest of a JSON string begins with.
fn character_length(rest: &str) -> usize {
    match rest.as_bytes() {
        // Two surrogates are one character. A single one is legal JSON, if no text.
        [b'\\', b'u', _, _, _, _, b'\\', b'u', ..] if matches!(rest.get(2..4), Some(high) if is_high(high)) => {
            12
        }
        [b'\\', b'u', ..] => 6,
        [b'\\', ..] => 2,
        _ => rest.chars().next().map_or(0, char::len_utf8),
    }
}

/// Whether hexadecimal digits begin the first surrogate of a pair.
fn is_high(digits: &str) -> bool {
    u8::from_str_radix(digits, 16).is_ok_and(|byte| (0xd8..0xdc).contains(&byte))
}

/// JSON's white space, which is less than Unicode's.
const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_is_laid_out_as_it_came() {
        let cases = [
            ("{}", "{}"),
            (" [ ] ", "[]"),
            (
                "12345678901234567890.12345678901234567890",
                "12345678901234567890.12345678901234567890",
            ),
            (r#"{"z":1,"a":[]}"#, "{\n  \"z\": 1,\n  \"a\": []\n}"),
            (
                r#"{"a":{"b":[1e400,-0.0,true,null]}}"#,
                "{\n  \"a\": {\n    \"b\": [\n      1e400,\n      -0.0,\n      true,\n      null\n    ]\n  }\n}",
            ),
            (
                r#"["\"{,:\\","é\u00e9\ud83d\ude00"]"#,
                "[\n  \"\\\"{,:\\\\\",\n  \"é\\u00e9\\ud83d\\ude00\"\n]",
            ),
            ("\"a\u{9b}31m\u{7f}\"", "\"a\\u009b31m\\u007f\""),
            ("\"no\u{a0}break\"", "\"no\u{a0}break\""),
        ];
        for (body, expected) in cases {
            assert_eq!(json(body.as_bytes(), false).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn compact_json_keeps_what_is_flat_on_one_line() {
        let body = br#"{"a":[{"b":1,"c":"}]"},{"d":[]}],"e":{},"f":[null,{"g":2}]}"#;
        let expected = r#"{
  "a": [
    { "b": 1, "c": "}]" },
    {
      "d": []
    }
  ],
  "e": {},
  "f": [
    null,
    { "g": 2 }
  ]
}"#;
        assert_eq!(compact(body, false).as_deref(), Some(expected));
    }

    #[test]
    fn compact_json_cuts_long_strings_and_stays_json() {
        for character in ["x", "é", "\\\"", "\\\\", "\\u0001", "\\ud83d\\ude00", "\\\\\\n"] {
            for count in 10..200 {
                let body = format!("[\"{}\"]", character.repeat(count));
                let shown = compact(body.as_bytes(), false).unwrap();
                serde_json::from_str::<[String; 1]>(&shown).unwrap();
                assert!(shown.len() < COMPACT_BYTES + 50, "{shown}");
            }
        }
        // JSON, but no text.
        let body = format!("\"{}\"", "\\ud83dé".repeat(50));
        assert!(compact(body.as_bytes(), false).is_some());
    }

    #[test]
    fn colors_tell_keys_from_values() {
        let shown = json(br#"{"a":"b"}"#, true).unwrap();
        assert_eq!(shown, "{\n  \x1b[34m\"a\"\x1b[0m: \x1b[32m\"b\"\x1b[0m\n}");
    }

    #[test]
    fn what_is_not_json_is_shown_as_text() {
        for body in [
            &b""[..],
            b"{",
            b"{} {}",
            b"01",
            b"\"\xff\"",
            b"\"\x1b[31m\"",
            b"nul",
            b"{\"a\":1,}",
        ] {
            assert_eq!(json(body, false), None, "{body:?}");
            assert!(!text(body).contains(char::is_control), "{body:?}");
        }
        assert_eq!(text(b"a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
        assert!(text(&[b'a'; 5_000]).ends_with("… (5000 bytes in all)"));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(value in any_json()) {
            for body in [value.to_string(), format!("{value:#}")] {
                let shown = json(body.as_bytes(), false).unwrap();
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&shown).unwrap(), &value);
                let shown = compact(body.as_bytes(), false).unwrap();
                serde_json::from_str::<serde_json::Value>(&shown).unwrap();
            }
        }

        #[test]
        fn any_bytes_can_be_shown(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = json(&body, true);
            let _ = compact(&body, true);
            let _ = text(&body);
        }
    }
}
