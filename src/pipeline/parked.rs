//! What a record may have to wait for.

use std::pin::Pin;

use pgstream_proto::replication::XLogData;

use super::catalog::Answer;
use super::hand_over::Beginning;
use crate::subscription::cache::Ticket;

/// A record that has to wait.
pub(super) struct Parked {
    pub(super) record: XLogData,
    pub(super) wait: Wait,
}

/// A question to the source about a table that is under way.
pub(super) type TableLookUp = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The writing of a dead letter that is under way.
pub(super) type Burial = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a record waits for.
pub(super) enum Wait {
    /// Room in the budget.
    Room(u64),
    /// The injector, which can take no more entries for now.
    Injector,
    /// A fresh set of subscriptions.
    Subscriptions(Ticket),
    /// Whether the source has partitioned tables by now.
    Partitions(Pin<Box<dyn Future<Output = bool> + Send>>),
    /// The beginning of the reading of rows, which it comes behind, for this generation of subscriptions.
    HandOver(u64, Beginning),
    /// A hold that would hold it, until that is closed.
    Hold,
    /// What the source says of its table.
    Table(TableLookUp),
    /// Its own writing to the dead letters: it cannot be read.
    Burial(Burial),
}

/// What became of a record.
pub(super) enum Taken {
    Done,
    Wait(Wait),
}
