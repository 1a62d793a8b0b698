//! Which tables' changes are taken from the stream at all.
//!
//! Pure. Owns the patterns of the settings `PGSTREAM_FILTER_INCLUDE_TABLES` and `PGSTREAM_FILTER_EXCLUDE_TABLES`, and what of
//! them the output plugin can be told. Must not know: subscriptions, and where the settings come from.
//!
//! # The rule
//!
//! A change is taken if its table matches a pattern that is included, or none is given, and none that is excluded. A
//! partition matches by its own name and by that of its root. What describes tables, `pgstream.schema_log` and
//! `pgstream.schema_log_tables`, is always taken. The plugin is told as much of that as it can express, so that the rest is
//! not even sent: never more, so that what is asked here again stays true. It knows no partitions, so that it is told what
//! is included only while there are none.

use std::fmt;
use std::str::FromStr;

/// The schema that a pattern without one means.
const DEFAULT_SCHEMA: &str = "public";
/// Tables that are taken whatever the patterns say.
const ALWAYS: [(&str, &str); 2] = [("pgstream", "schema_log"), ("pgstream", "schema_log_tables")];

/// Which tables' changes are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFilter {
    /// What is taken; all if it is empty.
    pub include: Patterns,
    /// What is not, whatever is included.
    pub exclude: Patterns,
}

/// Patterns of tables: `table`, which means one of schema `public`, or `schema.table`, separated by commas. In either name
/// `*` stands for any text. A name with a dot, a comma, a blank, a quote or a `*` of its own stands in double quotes,
/// doubled within.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
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

/// What the plugin is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginTables {
    /// Its option `add-tables`: nothing, if it cannot express all that is taken, or all is.
    pub add: Vec<String>,
    /// What its option `filter-tables` gets.
    pub filter: Vec<String>,
}

impl TableFilter {
    /// Whether changes of this table are taken, which may have a partition root, both given by schema and name.
    #[must_use]
    pub fn takes(&self, table: (&str, &str), root: Option<(&str, &str)>) -> bool {
        let names = || [Some(table), root].into_iter().flatten();
        let is_included =
            || self.include.is_empty() || names().any(|(schema, table)| self.include.matches(schema, table));
        ALWAYS.contains(&table)
            || !names().any(|(schema, table)| self.exclude.matches(schema, table)) && is_included()
    }

    /// Whether changes of this table are not taken whatever root it has.
    #[must_use]
    pub fn excludes(&self, schema: &str, table: &str) -> bool {
        !ALWAYS.contains(&(schema, table)) && self.exclude.matches(schema, table)
    }

    /// Whether all tables are taken.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// What the plugin can be told of it, in a database that has partitioned tables or has none.
    #[must_use]
    pub fn plugin_tables(&self, has_partitions: bool) -> PluginTables {
        let included = self.include.0.iter().filter(|_| !has_partitions);
        let included: Option<Vec<String>> = included.map(Pattern::for_plugin).collect();
        let mut add = included.unwrap_or_default();
        if !add.is_empty() {
            add.extend(ALWAYS.map(|(schema, table)| format!("{schema}.{table}")));
        }
        let is_spared = |pattern: &&Pattern| {
            !ALWAYS
                .iter()
                .any(|(schema, table)| pattern.matches(schema, table))
        };
        let excluded = self.exclude.0.iter().filter(is_spared);
        PluginTables {
            add,
            filter: excluded.filter_map(Pattern::for_plugin).collect(),
        }
    }
}

impl Patterns {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn matches(&self, schema: &str, table: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(schema, table))
    }
}

impl Pattern {
    fn matches(&self, schema: &str, table: &str) -> bool {
        self.schema.matches(schema) && self.table.matches(table)
    }

    /// As wal2json takes it, which knows a `*` for a whole name only.
    fn for_plugin(&self) -> Option<String> {
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
        if character.is_ascii_whitespace() || matches!(character, '\x0b' | '\'' | ',' | '.' | '*' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text
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
        for (number, Pattern { schema, table }) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(formatter, "{comma}{schema}.{table}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [name] if name.contains(['.', ',', '*', '"']) || name.trim() != name => {
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

    fn filter(include: &str, exclude: &str) -> TableFilter {
        TableFilter {
            include: include.parse().unwrap(),
            exclude: exclude.parse().unwrap(),
        }
    }

    #[test]
    fn patterns_take_tables_and_leave_others() {
        let all = filter("", "");
        assert!(all.takes_all() && all.takes(("any", "table"), None));
        let some = filter(
            r#"orders, sales.*, *.audit_*_log, "odd.schema"."a ""b"", *""#,
            "sales.secret,tmp*",
        );
        for (schema, table, taken) in [
            ("public", "orders", true),
            ("other", "orders", false),
            ("sales", "anything", true),
            ("sales", "secret", false),
            ("x", "audit_2026_log", true),
            ("x", "audit__log", true),
            ("x", "audit_log", false),
            ("x", "audit_2026_logs", false),
            ("odd.schema", r#"a "b", *"#, true),
            ("odd.schema", r#"a "b", x"#, false),
            ("pgstream", "schema_log", true),
            ("pgstream", "schema_log_tables", true),
        ] {
            assert_eq!(some.takes((schema, table), None), taken, "{schema}.{table}");
        }
        assert!(!filter("*.*", "public.tmp*").takes(("public", "tmp1"), None));
        assert!(filter("", "*.*").takes(("pgstream", "schema_log"), None));
    }

    #[test]
    fn partitions_match_by_their_own_name_and_by_their_roots() {
        let leaf = ("parts", "orders_1");
        let root = Some(("public", "orders"));
        for (include, exclude, taken) in [
            ("orders", "", true),
            ("parts.*", "", true),
            ("orders", "parts.orders_1", false),
            ("parts.*", "orders", false),
            ("", "orders", false),
            ("other", "", false),
        ] {
            let filter = filter(include, exclude);
            assert_eq!(filter.takes(leaf, root), taken, "{include} but {exclude}");
            assert_eq!(filter.excludes(leaf.0, leaf.1), exclude == "parts.orders_1");
        }
    }

    #[test]
    fn the_plugin_is_told_what_it_can_express() {
        assert_eq!(filter("", "").plugin_tables(false), PluginTables::default());
        let some = filter(r#"orders,sales.*,"a.b"."c d""#, "*.secret,tmp*,pgstream.*,*.*");
        let told = some.plugin_tables(false);
        let add = [
            "public.orders",
            "sales.*",
            r"a\.b.c\ d",
            "pgstream.schema_log",
            "pgstream.schema_log_tables",
        ];
        assert_eq!(told.add, add);
        assert_eq!(told.filter, ["*.secret"]);
        assert!(filter("orders,tmp*", "").plugin_tables(false).add.is_empty());
        let told = some.plugin_tables(true);
        assert_eq!((told.add.len(), told.filter), (0, vec!["*.secret".to_owned()]));
    }

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
}
