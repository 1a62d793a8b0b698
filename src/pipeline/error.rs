//! Why the pipeline cannot go on.

use pgstream_proto::Lsn;
use pgstream_proto::wal2json::ParseError;

use crate::subscription::cache::CacheError;

/// The pipeline cannot go on. Nothing at or beyond the record in question is confirmed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A record that wal2json printed wrongly, or that is not a wal2json record of format version 2.
    #[error(
        "the record at {wal_start} cannot be read: {source}. wal2json prints invalid JSON for types whose names have quotes or backslashes in them; \
         rename the type, or advance the slot past the transaction with pg_replication_slot_advance to go on without it"
    )]
    Unparsable {
        /// Where the record stands in the WAL.
        wal_start: Lsn,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Records came in an order that the plugin never sends them in.
    #[error("the record at {wal_start} is out of place: {problem}")]
    OutOfPlace {
        /// Where the record stands in the WAL.
        wal_start: Lsn,
        /// What is wrong.
        problem: &'static str,
    },
    /// A record without a position, which the plugin was asked to print.
    #[error("the record at {wal_start} has no {field}: is the output plugin wal2json 2.0 or later?")]
    Incomplete {
        /// Where the record stands in the WAL.
        wal_start: Lsn,
        /// What is missing.
        field: &'static str,
    },
    /// There will be no more subscriptions.
    #[error(transparent)]
    Subscriptions(#[from] CacheError),
}
