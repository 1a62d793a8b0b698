//! The change as we deliver it: its model, its stable id, its place in the order, its payload.
//!
//! Knows the records of wal2json and the bytes of a webhook's body; nothing of endpoints, matching or sockets.

mod commit_time;
mod delivery_id;
mod description;
mod injection;
mod model;
mod order;
mod payload;

pub use commit_time::commit_time;
pub use delivery_id::{IdKind, Occurrences, RowVersion, Source, table_hash};
pub use description::{Description, KnownColumn, KnownTable};
pub use injection::Injection;
pub use model::{Event, Origin, Position, TableName};
pub use order::{KeySet, LaneKey, LaneKeys, Place, TableKey, place, row_place};
pub use payload::{Encoded, encode, encoded_len_bound};
