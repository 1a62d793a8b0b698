//! What kind of record this is.

use std::fmt;

/// The action of a record, printed by wal2json as one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `B`: a transaction begins.
    Begin,
    /// `C`: the transaction has committed.
    Commit,
    /// `I`: a row was inserted.
    Insert,
    /// `U`: a row was updated.
    Update,
    /// `D`: a row was deleted.
    Delete,
    /// `T`: a table was truncated.
    Truncate,
    /// `M`: someone called `pg_logical_emit_message`.
    Message,
}

impl Action {
    /// The action of a letter, if it is one.
    pub fn from_letter(letter: &str) -> Option<Self> {
        Some(match letter {
            "B" => Self::Begin,
            "C" => Self::Commit,
            "I" => Self::Insert,
            "U" => Self::Update,
            "D" => Self::Delete,
            "T" => Self::Truncate,
            "M" => Self::Message,
            _ => return None,
        })
    }

    /// The letter wal2json prints.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Begin => "B",
            Self::Commit => "C",
            Self::Insert => "I",
            Self::Update => "U",
            Self::Delete => "D",
            Self::Truncate => "T",
            Self::Message => "M",
        }
    }

    /// Whether the record is about a table, and so carries its schema and name.
    pub fn concerns_table(self) -> bool {
        matches!(self, Self::Insert | Self::Update | Self::Delete | Self::Truncate)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::Action;

    #[test]
    fn letters_go_both_ways() {
        for letter in ["B", "C", "I", "U", "D", "T", "M"] {
            let action = Action::from_letter(letter).unwrap();
            assert_eq!(action.letter(), letter);
            assert_eq!(action.to_string(), letter);
            assert_eq!(action.concerns_table(), "IUDT".contains(letter));
        }
        for other in ["", "i", "X", "II", "\u{1F600}"] {
            assert_eq!(Action::from_letter(other), None, "{other:?}");
        }
    }
}
