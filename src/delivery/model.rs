//! What of a delivery is stored: in the backlog, and in the dead letters.

use std::sync::Arc;
use std::time::SystemTime;

use pgstream_proto::Lsn;

use crate::event::{Event, KeySet, LaneKey, LaneKeys, Origin, Place, Position, TableKey};

/// A place in the order, as columns: the bits of its hashes as signed numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPlace {
    /// The root table.
    pub table_key: i64,
    /// The lane, or nothing for the whole table.
    pub lane: Option<i64>,
    /// The second lane of a change of the key.
    pub moved_to: Option<i64>,
    /// What the lanes are made of.
    pub key_set: Option<i64>,
}

/// What was tried with a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How often it was tried.
    pub count: u32,
    /// What the first attempt failed with.
    pub first_error: Option<String>,
    /// What the last one failed with.
    pub last_error: Option<String>,
    /// When it was first tried.
    pub first_at: Option<SystemTime>,
    /// When it was last tried.
    pub last_at: Option<SystemTime>,
}

/// What a row says about an event, borrowed for writing.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// The `webhook-id`.
    pub webhook_id: &'a str,
    /// Which run of a replay it belongs to; 0 if to none.
    pub replay_run: i64,
    /// How it came to be delivered.
    pub origin: Origin,
    /// The table's schema.
    pub schema: &'a str,
    /// The table's name.
    pub table: &'a str,
    /// Schema and name of its root, if it is a partition.
    pub root: Option<(&'a str, &'a str)>,
    /// The letter of the change.
    pub action: char,
    /// Where it stands in the order.
    pub place: StoredPlace,
    /// Where it stands in the source's history.
    pub position: Position,
    /// The body.
    pub payload: &'a [u8],
    /// What was tried.
    pub attempts: &'a Attempts,
}

impl<'a> Written<'a> {
    /// What is written of an event, and of what was tried with it.
    #[must_use]
    pub fn of(event: &'a Event, attempts: &'a Attempts) -> Self {
        let root = event.table.root.as_ref();
        Self {
            webhook_id: &event.id,
            replay_run: event.replay_run,
            origin: event.origin,
            schema: &event.table.schema,
            table: &event.table.table,
            root: root.map(|(schema, table)| (schema.as_str(), table.as_str())),
            action: event.action,
            place: event.place.into(),
            position: event.position,
            payload: &event.payload,
            attempts,
        }
    }
}

/// The changes of a table that are held back for an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its number.
    pub id: i64,
    /// The endpoint's URL.
    pub endpoint: Arc<str>,
    /// Whose changes; [`Hold::ALL`] for everything that the endpoint gets.
    pub table: TableKey,
    /// What is committed from here on is held.
    pub from: Lsn,
}

impl Hold {
    /// Stands for all tables.
    pub const ALL: TableKey = TableKey(0);
}

/// A row as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place in the backlog.
    pub seq: i64,
    /// The `webhook-id`.
    pub webhook_id: String,
    /// Which run of a replay it belongs to; 0 if to none.
    pub replay_run: i64,
    /// How it came to be delivered.
    pub origin: Origin,
    /// The table's schema.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// Schema and name of its root, if it is a partition.
    pub root: Option<(String, String)>,
    /// The letter of the change.
    pub action: char,
    /// Where it stands in the order.
    pub place: StoredPlace,
    /// Where it stands in the source's history.
    pub position: Position,
    /// The body.
    pub payload: Vec<u8>,
    /// What was tried.
    pub attempts: Attempts,
    /// When it was written.
    pub appended_at: SystemTime,
}

impl From<Place> for StoredPlace {
    fn from(Place { table, keys, key_set }: Place) -> Self {
        let (lane, moved_to) = match keys {
            LaneKeys::Row(lane) => (Some(lane), None),
            LaneKeys::Moved(from, to) => (Some(from), Some(to)),
            LaneKeys::Table => (None, None),
        };
        let signed = |LaneKey(lane)| lane.cast_signed();
        Self {
            table_key: table.0.cast_signed(),
            lane: lane.map(signed),
            moved_to: moved_to.map(signed),
            key_set: key_set.map(|KeySet(set)| set.cast_signed()),
        }
    }
}

impl From<StoredPlace> for Place {
    fn from(stored: StoredPlace) -> Self {
        let lane = |lane: i64| LaneKey(lane.cast_unsigned());
        Self {
            table: TableKey(stored.table_key.cast_unsigned()),
            keys: match (stored.lane, stored.moved_to) {
                (Some(row), None) => LaneKeys::Row(lane(row)),
                (Some(from), Some(to)) => LaneKeys::Moved(lane(from), lane(to)),
                (None, _) => LaneKeys::Table,
            },
            key_set: stored.key_set.map(|set| KeySet(set.cast_unsigned())),
        }
    }
}

/// Rows that have left a backlog without having been delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many.
    pub rows: u64,
    /// Their bytes of payload.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_both_ways() {
        let (a, b) = (LaneKey(u64::MAX), LaneKey(1));
        for keys in [LaneKeys::Row(a), LaneKeys::Moved(a, b), LaneKeys::Table] {
            for key_set in [None, Some(KeySet(1 << 63))] {
                let place = Place {
                    table: TableKey(7),
                    keys,
                    key_set,
                };
                assert_eq!(Place::from(StoredPlace::from(place)), place);
            }
        }
    }
}
