//! Why a record could not be read.

use super::{Action, MAX_COLUMNS, MAX_DEPTH};

/// A record that is not what wal2json should print. It carries a position and never a part of the record, which
/// holds a user's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed wal2json record at byte {offset}: {problem}")]
pub struct ParseError {
    offset: usize,
    problem: Problem,
}

/// What is wrong at the position of a [`ParseError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Something else stands where this was expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The record ends where this was expected.
    #[error("the record ends where {0} was expected")]
    EndsBefore(&'static str),
    /// Bytes that are not UTF-8.
    #[error("the text is not valid UTF-8")]
    NotUtf8,
    /// A character below U+0020 in a string.
    #[error("a control character stands in a string without being escaped")]
    ControlCharacter,
    /// A backslash that begins no escape sequence of JSON.
    #[error("a backslash begins no valid escape sequence")]
    Escape,
    /// A `\u` escape of one half of a surrogate pair without the other.
    #[error("a \\u escape names half of a surrogate pair without the other half")]
    LoneSurrogate,
    /// Nesting deeper than [`MAX_DEPTH`].
    #[error("the record nests more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// A list longer than [`MAX_COLUMNS`].
    #[error("a list has more than {MAX_COLUMNS} columns")]
    TooManyColumns,
    /// A record longer than positions within it can count.
    #[error("the record is longer than 4 GiB")]
    TooLong,
    /// A key of the record, or of a column, that was given before.
    #[error("the key \"{0}\" is given twice")]
    DuplicateKey(&'static str),
    /// The record has no action.
    #[error("the key \"action\" is missing")]
    MissingAction,
    /// The record lacks what its action needs.
    #[error("the key \"{key}\" is missing, which action {action} needs")]
    MissingKey {
        /// The action of the record.
        action: Action,
        /// What it needs and does not have.
        key: &'static str,
    },
    /// A column lacks its name, type or value.
    #[error("the column that ends here lacks the key \"{0}\"")]
    IncompleteColumn(&'static str),
}

impl ParseError {
    pub(super) fn new(offset: usize, problem: Problem) -> Self {
        Self { offset, problem }
    }

    /// Where in the record the trouble lies, in bytes from its start, at most the record's length.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What the trouble is.
    pub fn problem(&self) -> Problem {
        self.problem
    }
}
