//! What a record may have to wait for.

use std::pin::Pin;

use pgstream_proto::replication::XLogData;

use crate::store::catalog::PartitionRoot;
use crate::subscription::cache::Ticket;

/// A record that has to wait.
pub(super) struct Parked {
    pub(super) record: XLogData,
    pub(super) wait: Wait,
}

/// A question to the source's catalogs that is under way.
pub(super) type RootLookUp = Pin<Box<dyn Future<Output = PartitionRoot> + Send>>;

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
    /// The partition root of its table.
    Root(RootLookUp),
    /// Its own writing to the dead letters: it cannot be read.
    Burial(Burial),
}

/// What became of a record.
pub(super) enum Taken {
    Done,
    Wait(Wait),
}
