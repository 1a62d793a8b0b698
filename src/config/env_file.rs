//! The `.env` file: quotes, comments, `export` and `$NAME` as a shell has them.

use std::path::Path;

/// One `KEY=VALUE` of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: String,
    /// Whether a `$NAME` in it was replaced, which a password with a `$` was hardly meant to be.
    pub(super) substituted: bool,
}

/// The entries of the file in its order, those of other programs included.
///
/// The error is text for the operator: the file and the line, never the line's content, which may be a password.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, String> {
    dotenvy::Iter::new(text.as_bytes())
        .map(|entry| {
            entry.map(|(name, value)| Entry {
                substituted: was_substituted(text, &name, &value),
                name,
                value,
            })
        })
        .collect::<Result<_, _>>()
        .map_err(|error| rejection(path, text, &error))
}

fn rejection(path: &Path, text: &str, error: &dotenvy::Error) -> String {
    let line = match error {
        dotenvy::Error::LineParse(rejected, _) => line_number(text, rejected),
        _ => None,
    };
    let line = line.map_or_else(String::new, |number| format!(", line {number}"));
    format!(
        "{}{line}: is not KEY=VALUE: put a value with spaces or special characters in single quotes; the name of a file of YAML ends in .yaml or .yml",
        path.display()
    )
}

/// Whether the value has fewer dollar signs than its line.
fn was_substituted(text: &str, name: &str, value: &str) -> bool {
    let dollars = |text: &str| text.matches('$').count();
    let assignment = |line: &&str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export").map_or(line, str::trim_start);
        line.strip_prefix(name)
            .is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines()
        .find(assignment)
        .is_some_and(|line| dollars(line) > dollars(value))
}

/// The parser hands back the text it rejected, a line or the value at its end, without saying where it stood.
fn line_number(text: &str, rejected: &str) -> Option<usize> {
    let first = rejected.lines().next()?;
    text.lines()
        .position(|line| line.trim_end().ends_with(first.trim_end()))
        .map(|position| position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Entry>, String> {
        parse(Path::new("pgstream.env"), text)
    }

    #[test]
    fn understands_what_a_shell_does() {
        let text = "# Listener config\n\
                    PLAIN=postgres://u:p@localhost:5432?sslmode=disable\n\
                    export DOUBLE=\"60s\" # a comment\n\
                    \n\
                    SINGLE='pa$$ #word'\n\
                    EMPTY=\r\n\
                    LAST=1";
        let entries = read_text(text).unwrap();
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.value.as_str()))
            .collect();
        assert_eq!(
            entries,
            [
                ("PLAIN", "postgres://u:p@localhost:5432?sslmode=disable"),
                ("DOUBLE", "60s"),
                ("SINGLE", "pa$$ #word"),
                ("EMPTY", ""),
                ("LAST", "1"),
            ]
        );
    }

    #[test]
    fn a_replaced_dollar_is_seen() {
        for (text, substituted) in [
            ("A=pa$word", true),
            ("export A=\"pa${word}\"", true),
            ("A='pa$word'", false),
            ("A=pa\\$word", false),
        ] {
            let entries = read_text(text).unwrap();
            assert_eq!(
                entries.iter().map(|entry| entry.substituted).collect::<Vec<_>>(),
                [substituted],
                "{text}"
            );
        }
    }

    #[test]
    fn an_error_names_the_line_and_not_its_content() {
        for (text, line) in [
            ("A=1\nB=secret word\nC=2\n", 2),
            ("A=1\n\nsecret\n", 3),
            ("A='secret\n", 1),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(&format!(", line {line}: ")), "{text:?}: {error}");
            assert!(!error.contains("secret"), "{text:?}: {error}");
        }
    }
}
