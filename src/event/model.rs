//! An event.

use std::fmt;
use std::sync::Arc;

use pgstream_proto::Lsn;

use super::order::Place;
use crate::progress::Share;

/// One change, encoded once and shared by all its receivers.
///
/// It carries its share of the byte budget and gives it back when the last receiver drops it.
pub struct Event {
    /// The `webhook-id`: the same after any restart, different for every change.
    pub id: String,
    /// The table that has changed.
    pub table: Arc<TableName>,
    /// The kind of change, as wal2json's letter for it.
    pub action: char,
    /// Where it stands in the source's history.
    pub position: Position,
    /// How it came to be delivered.
    pub origin: Origin,
    /// Which run of a replay it belongs to; 0 if to none.
    pub replay_run: i64,
    /// Where it stands in the order.
    pub place: Place,
    /// The body of the request.
    pub payload: Vec<u8>,
    /// What this event holds of the byte budget.
    pub share: Share,
}

/// The names of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    /// Its schema.
    pub schema: String,
    /// Its own name.
    pub table: String,
    /// Schema and name of the topmost partitioned table it belongs to, if any.
    pub root: Option<(String, String)>,
}

/// Where a change stands in the history of its source.
///
/// Positions are comparable within one source only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The system identifier of the source's cluster.
    pub source: u64,
    /// The epoch of its history.
    pub epoch: u32,
    /// The commit LSN of the transaction.
    pub commit_lsn: Lsn,
    /// The LSN of the change.
    pub lsn: Lsn,
}

/// How an event came to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It was read from the stream.
    Stream,
    /// It is a row of a snapshot.
    Snapshot,
    /// An operator had a dead letter delivered again.
    Replay,
    /// An operator moved it here from another endpoint.
    Move,
}

impl Position {
    /// Whether this change comes before `other` in the history of the one source that both are of.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        let order = |position: &Self| (position.epoch, position.commit_lsn, position.lsn);
        self.source == other.source && order(self) < order(other)
    }
}

impl Origin {
    /// Whether it is delivered for as long only as somebody is subscribed to it. What an operator asked for is not.
    #[must_use]
    pub const fn needs_subscription(self) -> bool {
        matches!(self, Self::Stream | Self::Snapshot)
    }

    /// Its name where it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Snapshot => "snapshot",
            Self::Replay => "replay",
            Self::Move => "move",
        }
    }
}

impl fmt::Debug for Event {
    /// Never shows the payload: it belongs to the user's users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("position", &self.position)
            .field("place", &self.place)
            .field("payload_len", &self.payload.len())
            .finish_non_exhaustive()
    }
}
