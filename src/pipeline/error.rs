//! Why the pipeline cannot go on.

use pgstream_proto::Lsn;
use pgstream_proto::wal2json::ParseError;

use crate::schema_log::Ended;
use crate::store::StoreError;
use crate::subscription::cache::CacheError;

/// The pipeline cannot go on. Nothing at or beyond the record in question is confirmed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A record that wal2json printed wrongly, or that is not a wal2json record of format version 2.
    #[error(
        "the record at {wal_start} cannot be read: {problem}. wal2json prints invalid JSON for types whose names have quotes \
         or backslashes in them, and text that is not UTF-8 in a database of another encoding.{}",
        going_on(*transaction_end)
    )]
    Unparsable {
        /// Where the record stands in the WAL.
        wal_start: Lsn,
        /// Where its transaction ends, if that is known.
        transaction_end: Option<Lsn>,
        /// What is wrong with it.
        problem: ParseError,
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
    /// The plugin sends certain tables only, and would leave out partitions of theirs.
    #[error(
        "there is a partitioned table now, and wal2json, which was told to send the included tables only, knows no \
         partitions: from here on all is sent and filtered here"
    )]
    Partitions,
    /// After the connection was lost, a transaction reads differently than before.
    #[error(
        "the record at {wal_start} is not the one that was read there before the connection was lost: has the output plugin, \
         or what it is told to leave out, changed? What was not settled is read anew"
    )]
    ReadsDifferently {
        /// Where the record stands in the WAL.
        wal_start: Lsn,
    },
    /// The source is on another timeline, and what is in backlogs, or left out because rows have brought it, goes beyond the end
    /// of the old one.
    #[error(
        "the source went on to another timeline before the end of what is known of the old one: what was not settled is \
         read anew"
    )]
    MarksOfAnotherTimeline,
    /// There will be no more subscriptions.
    #[error(transparent)]
    Subscriptions(#[from] CacheError),
    /// What was known when the stream last stopped cannot be read.
    #[error("cannot begin to fill in metadata")]
    SchemaLog(#[source] StoreError),
    /// What is applied of the schema log cannot be kept.
    #[error(transparent)]
    Injector(#[from] Ended),
}

/// How to go on without a transaction that cannot be read. Its end is the one position that loses this transaction and
/// no other: everything before it is delivered before the program ends in this way.
fn going_on(transaction_end: Option<Lsn>) -> String {
    transaction_end.map_or_else(String::new, |end| {
        format!(
            " To go on without its transaction, and without losing another one, run `pgstream skip --to {end}` and start again"
        )
    })
}
