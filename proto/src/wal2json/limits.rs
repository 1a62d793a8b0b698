//! The bounds of the parser.

/// The most columns a record may list in `columns`, `identity` or `pk`: what PostgreSQL allows a table
/// (`MaxHeapAttributeNumber`). It bounds the scratch memory that a [`Parser`](super::Parser) keeps.
pub const MAX_COLUMNS: usize = 1600;

/// How deep arrays and objects may nest inside one value. wal2json prints no nested value at all, so this only
/// concerns keys to come. With the three levels around a column's value it stays far below the 128 at which
/// serde_json gives up.
pub const MAX_VALUE_DEPTH: usize = 64;
