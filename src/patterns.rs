//! Patterns of tables, as settings and options have them.
//!
//! Pure: what a pattern is, how it is read and shown, and whether a table matches. Must not know: what is done with the
//! tables.

use std::fmt;
use std::str::FromStr;

/// The schema that a pattern without one means.
const DEFAULT_SCHEMA: &str = "public";
/// Patterns of tables: `table`, which means one of schema `public`, or `schema.table`, separated by commas. In either name
/// `*` stands for any text. A name with a dot, a comma, a blank, a quote or a `*` of its own stands in double quotes,
/// doubled within.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    schema: Name,
    table: Name,
}

/// A name with gaps: what has to stand before, between and behind each `*`. One piece is the name itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name(Vec<String>);

/// Why a list of patterns is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A name is the empty text.
    #[error("{0:?} lacks a name: write table, schema.table or schema.*")]
    Empty(String),
    /// There are more than two names.
    #[error("{0:?} has more than two names: write schema.table, and a name with a dot in double quotes")]
    TooMany(String),
    /// A quote is not closed, or it or a blank stands within a name.
    #[error(
        "{0:?} has a double quote or a blank out of place: separate names by commas; one with a blank or a quote of its own begins and ends with a double quote, and doubles those within"
    )]
    Quote(String),
}

/// Why a list of tables is refused that is written as wal2json has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginTableError {
    /// There are not two names.
    #[error("{0:?} is not schema.table: write schema.table, schema.* or *.table, and a dot in a name as \\.")]
    Names(String),
    /// A character stands for itself only behind a backslash.
    #[error("{table:?} has {character:?} within a name: write a backslash before it")]
    Character {
        /// The item.
        table: String,
        /// What is to be escaped.
        character: char,
    },
    /// There is nothing behind a backslash.
    #[error("{0:?} ends with a backslash: write what it escapes, or two for one of a name")]
    Backslash(String),
}

impl Patterns {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter()
    }

    /// Reads patterns that are separated by blanks, or by commas as well.
    ///
    /// # Errors
    /// [`PatternError`]
    pub fn separated_by_blanks(text: &str) -> Result<Self, PatternError> {
        let mut is_quoted = false;
        let mut list = String::with_capacity(text.len());
        for character in text.chars() {
            is_quoted ^= character == '"';
            let separates = !is_quoted && (character == ',' || character.is_whitespace());
            if !separates {
                list.push(character);
            } else if !list.is_empty() && !list.ends_with(',') {
                list.push(',');
            }
        }
        list.strip_suffix(',').unwrap_or(&list).parse()
    }

    /// Reads tables as the options of wal2json have them: `schema.table`, separated by commas, `*` for a whole name, and a
    /// backslash before a character that would otherwise mean something.
    ///
    /// # Errors
    /// [`PluginTableError`]
    pub fn of_plugin(text: &str) -> Result<Self, PluginTableError> {
        let mut patterns = Vec::new();
        let mut rest = text;
        while !rest.trim().is_empty() {
            let end = unescaped(rest, ',').unwrap_or(rest.len());
            patterns.push(plugin_pattern(rest[..end].trim_start())?);
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        Ok(Self(patterns))
    }

    /// Whether one of them matches this table.
    #[must_use]
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(schema, table))
    }
}

impl Pattern {
    /// Whether it matches this table.
    #[must_use]
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        self.schema.matches(schema) && self.table.matches(table)
    }

    /// Whether it can match one table only.
    #[must_use]
    pub fn is_one_table(&self) -> bool {
        self.schema.0.len() == 1 && self.table.0.len() == 1
    }

    /// As wal2json takes it, which knows a `*` for a whole name only.
    #[must_use]
    pub fn for_plugin(&self) -> Option<String> {
        Some(format!(
            "{}.{}",
            self.schema.for_plugin()?,
            self.table.for_plugin()?
        ))
    }
}

impl Name {
    fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else {
            return false;
        };
        let Some((last, between)) = rest.split_last() else {
            return name == first;
        };
        let Some(mut left) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        // The first place of each piece leaves most to the ones behind it.
        for piece in between {
            let Some(at) = left.find(piece.as_str()) else {
                return false;
            };
            left = &left[at + piece.len()..];
        }
        left.ends_with(last.as_str())
    }

    fn for_plugin(&self) -> Option<String> {
        match self.0.as_slice() {
            [name] => Some(escaped(name)),
            [before, behind] if before.is_empty() && behind.is_empty() => Some("*".to_owned()),
            _ => None,
        }
    }
}

/// A name as wal2json takes it: it escapes what separates names or stands for something.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        if is_special(character) {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// Whether a character of a name stands for itself in wal2json's options only behind a backslash.
fn is_special(character: char) -> bool {
    character.is_ascii_whitespace() || matches!(character, '\x0b' | '\'' | ',' | '.' | '*' | '\\')
}

/// Where a character stands first that no backslash escapes.
fn unescaped(text: &str, wanted: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices()
        .find(|&(_, character)| {
            let found = character == wanted && !is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            found
        })
        .map(|(at, _)| at)
}

/// Reads one item of a list of wal2json's.
fn plugin_pattern(item: &str) -> Result<Pattern, PluginTableError> {
    let names = || PluginTableError::Names(item.trim_end().to_owned());
    let dot = unescaped(item, '.').ok_or_else(names)?;
    let (schema, table) = (&item[..dot], &item[dot + 1..]);
    if unescaped(table, '.').is_some() || schema.is_empty() || table.trim_end().is_empty() {
        return Err(names());
    }
    Ok(Pattern {
        schema: plugin_name(schema, item)?,
        table: plugin_name(table, item)?,
    })
}

/// Reads one name of it. Blanks behind it are no part of it, unless they are escaped.
fn plugin_name(text: &str, item: &str) -> Result<Name, PluginTableError> {
    if text.trim_end() == "*" {
        return Ok(Name(vec![String::new(), String::new()]));
    }
    let table = || item.trim_end().to_owned();
    let mut name = String::with_capacity(text.len());
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            let (_, escaped) = characters
                .next()
                .ok_or_else(|| PluginTableError::Backslash(table()))?;
            name.push(escaped);
        } else if character.is_ascii_whitespace() && text[at..].trim().is_empty() {
            break;
        } else if is_special(character) {
            return Err(PluginTableError::Character {
                table: table(),
                character,
            });
        } else {
            name.push(character);
        }
    }
    Ok(Name(vec![name]))
}

impl FromStr for Patterns {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let mut patterns = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (pattern, behind) = read_pattern(rest)?;
            patterns.push(pattern);
            rest = behind.trim_start();
        }
        Ok(Self(patterns))
    }
}

/// Reads a pattern and the comma behind it, and returns what is behind that.
fn read_pattern(text: &str) -> Result<(Pattern, &str), PatternError> {
    let shown = || text.split(',').next().unwrap_or_default().trim().to_owned();
    let (mut names, mut rest) = (Vec::new(), text);
    loop {
        let (name, behind) = read_name(rest).ok_or_else(|| PatternError::Quote(shown()))?;
        if name.0.iter().all(String::is_empty) && name.0.len() == 1 {
            return Err(PatternError::Empty(shown()));
        }
        names.push(name);
        rest = behind;
        match rest.strip_prefix('.') {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    rest = match rest.strip_prefix(',') {
        Some(behind) => behind,
        None if rest.is_empty() => rest,
        None => return Err(PatternError::Quote(shown())),
    };
    let default = || Name(vec![DEFAULT_SCHEMA.to_owned()]);
    let mut names = names.into_iter();
    let pattern = match (names.next(), names.next(), names.next()) {
        (Some(table), None, _) => Pattern {
            schema: default(),
            table,
        },
        (Some(schema), Some(table), None) => Pattern { schema, table },
        _ => return Err(PatternError::TooMany(shown())),
    };
    Ok((pattern, rest))
}

/// Reads a name, and returns what is behind it. Nothing, if a quote is not closed or out of place.
fn read_name(text: &str) -> Option<(Name, &str)> {
    let text = text.trim_start();
    let Some(mut quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', ',']).unwrap_or(text.len());
        let name = text[..end].trim_end();
        let pieces = name.split('*').map(str::to_owned).collect();
        let is_one = !name.contains(|character: char| character == '"' || character.is_whitespace());
        return is_one.then_some((Name(pieces), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let end = quoted.find('"')?;
        name.push_str(&quoted[..end]);
        quoted = &quoted[end + 1..];
        match quoted.strip_prefix('"') {
            Some(behind) => {
                name.push('"');
                quoted = behind;
            }
            None => return Some((Name(vec![name]), quoted.trim_start())),
        }
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, pattern) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(formatter, "{comma}{pattern}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.table)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [name] if name.contains(|c: char| matches!(c, '.' | ',' | '*' | '"') || c.is_whitespace()) => {
                write!(formatter, "\"{}\"", name.replace('"', "\"\""))
            }
            pieces => formatter.write_str(&pieces.join("*")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, expected) in [
            ("a.", PatternError::Empty("a.".to_owned())),
            (",", PatternError::Empty(String::new())),
            ("a,,b", PatternError::Empty(String::new())),
            ("a.b.c", PatternError::TooMany("a.b.c".to_owned())),
            (r#"x,"a"#, PatternError::Quote(r#""a"#.to_owned())),
            (r#"a"b"#, PatternError::Quote(r#"a"b"#.to_owned())),
            (r#""a"b"#, PatternError::Quote(r#""a"b"#.to_owned())),
            // Separated by what separates tables elsewhere.
            ("s.* t", PatternError::Quote("s.* t".to_owned())),
            ("a\nb", PatternError::Quote("a\nb".to_owned())),
        ] {
            assert_eq!(text.parse::<Patterns>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn blanks_separate_as_well_where_they_may() {
        for (text, expected) in [
            ("test_schema.* test", "test_schema.*,public.test"),
            ("  a\n\tb,c , d ", "public.a,public.b,public.c,public.d"),
            (r#""a b" "c, d".e"#, r#"public."a b","c, d".e"#),
            ("", ""),
            (" ", ""),
        ] {
            let read = Patterns::separated_by_blanks(text).unwrap();
            assert_eq!(read.to_string(), expected, "{text}");
        }
        assert!(Patterns::separated_by_blanks("a. b").is_err());
        assert!(Patterns::separated_by_blanks(r#""a b"#).is_err());
    }

    /// Whether `name` matches `pattern`, in the plainest words.
    fn matches(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|at| matches(rest, &name[at..])),
            Some((first, rest)) => name.first() == Some(first) && matches(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn stars_stand_for_any_text(pattern in "[ab*]{1,6}", name in "[ab]{0,8}") {
            let parsed: Patterns = pattern.parse().unwrap();
            let (pattern, letters): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(parsed.matches("public", &name), matches(&pattern, &letters));
        }

        #[test]
        fn patterns_are_read_as_they_are_shown(text in "[a.*, \"]{0,12}") {
            if let Ok(patterns) = text.parse::<Patterns>() {
                prop_assert_eq!(patterns.to_string().parse::<Patterns>(), Ok(patterns));
            }
        }
    }

    #[test]
    fn lists_of_the_plugin_are_read_and_written_the_same() {
        for (text, written) in [
            ("public.a", "public.a"),
            (" public.a , *.b,c.* ,", "public.a,*.b,c.*"),
            (
                r"s.a\ b,s.a\,b,s.a\.b,s.a\*b,s.it\'s,s.a\\b",
                r"s.a\ b,s.a\,b,s.a\.b,s.a\*b,s.it\'s,s.a\\b",
            ),
            (r"s.\*", r"s.\*"),
            (r"s.a\ ", r"s.a\ "),
            (r"Größe.\x", "Größe.x"),
            ("", ""),
        ] {
            let patterns = Patterns::of_plugin(text).unwrap();
            let told: Vec<String> = patterns.iter().map(|it| it.for_plugin().unwrap()).collect();
            assert_eq!(told.join(","), written, "{text}");
        }
        assert!(Patterns::of_plugin(r"s.\*").unwrap().matches("s", "*"));
        assert!(!Patterns::of_plugin(r"s.\*").unwrap().matches("s", "x"));
        for (text, words) in [
            ("orders", "is not schema.table"),
            ("a.b.c", "is not schema.table"),
            (".a", "is not schema.table"),
            ("a.,b.c", "is not schema.table"),
            (",", "is not schema.table"),
            ("a.b c", "' ' within a name"),
            ("a.b*", "'*' within a name"),
            ("a.it's", r"'\'' within a name"),
            (r"a.b\", "ends with a backslash"),
        ] {
            let error = Patterns::of_plugin(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
