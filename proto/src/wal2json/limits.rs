//! The bounds of the parser.

/// The most columns a record may list in `columns`, `identity` or `pk`: what PostgreSQL allows a table
/// (`MaxHeapAttributeNumber`). It bounds the scratch memory that a [`Parser`](super::Parser) keeps.
pub const MAX_COLUMNS: usize = 1600;

/// How deep arrays and objects of a record may nest, the record itself included. wal2json needs three levels;
/// more would come with keys we do not know. serde_json gives up at 128.
pub const MAX_DEPTH: usize = 64;
