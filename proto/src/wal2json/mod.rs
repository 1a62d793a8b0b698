//! Zero-copy parser of the records of the output plugin [wal2json], format version 2: one JSON object a record,
//! one record for a begin, a commit, a row change, a truncated table or a logical message.
//!
//! This module turns the bytes of one record into borrowed spans. It owns the JSON grammar, the keys of a
//! record and which of them an action needs. It must not know where a record came from, which table anyone
//! cares about, or what a value means: values stay the raw JSON text wal2json printed.
//!
//! There are two entry points. [`header`] reads who and what a record is about and stops there, so that a
//! change nobody asked for costs next to nothing. [`Parser::parse`] reads and checks all of it. [`RowWriter`] makes records
//! of rows that were read elsewhere, so that both are encoded alike.
//!
//! # What is accepted
//!
//! Whatever [`Parser::parse`] accepts, serde_json accepts with equal values. Beyond JSON's own grammar:
//!
//! - keys come in any order, with any legal white space; unknown keys are skipped, in a column's object too;
//! - a known key given twice is an error: of two values, either could be the wrong one;
//! - `null` for an optional key is the same as leaving it out;
//! - a number keeps its digits whatever its size, for a `numeric` exceeds every double;
//! - what an action needs must be there: `schema` and `table` for I, U, D and T, `columns` for I and U,
//!   `identity` for D, `transactional`, `prefix` and `content` for M, and `name`, `type` and `value` in each
//!   column (`name` and `type` in `pk`);
//! - a key of the header that belongs to other actions (`schema` in M) is checked and dropped;
//! - what an option of the plugin switches off may be absent: `xid`, `timestamp`, `origin`, `lsn`, `nextlsn`,
//!   `pk`. So may the `identity` of U, which wal2json leaves out, with a warning, where it has no old row.
//!
//! Deliberately absent: format version 1, pretty-printed chunks, and repairing the invalid JSON that wal2json
//! prints for some quoted type names. Such a record is a [`ParseError`], and its caller's to keep.
//!
//! [wal2json]: https://github.com/eulerto/wal2json

mod action;
mod columns;
mod cursor;
mod error;
mod escape;
mod header;
mod json_str;
mod key;
mod limits;
mod record;
mod row;
mod value;

/// Settings of a session that decide how values are printed, by wal2json and by COPY alike, pinned so that no setting of
/// the role or the database can change a payload.
///
/// `search_path` decides whether a type is printed as `mood` or `public.mood`, and `quote_all_identifiers` whether wal2json
/// prints quotes that it then fails to escape.
pub const SESSION_SETTINGS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("search_path", "public"),
    ("quote_all_identifiers", "off"),
];

pub use action::Action;
pub use columns::{Column, Columns, KeyColumn, KeyColumns};
pub use error::{ParseError, Problem};
pub use header::{Header, header, message_prefix};
pub use json_str::JsonStr;
pub use limits::{MAX_COLUMNS, MAX_DEPTH};
pub use record::{Parser, Record};
pub use row::{RowColumn, RowTooLong, RowWriter};

pub(crate) use escape::plain_prefix;

#[cfg(test)]
mod tests;
