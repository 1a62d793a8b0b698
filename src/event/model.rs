//! An event, and one delivery of it.

use std::fmt;
use std::sync::Arc;

use pgstream_proto::Lsn;

use super::order::Place;
use crate::progress::{SettleToken, Share};

/// One change, encoded once and shared by all its receivers.
///
/// It carries its share of the byte budget and gives it back when the last receiver drops it.
pub struct Event {
    /// The `webhook-id`: the same after any restart, different for every change.
    pub id: String,
    /// The LSN of the change, for the header `x-pgstream-lsn`.
    pub lsn: Lsn,
    /// Where it stands in the order.
    pub place: Place,
    /// The body of the request.
    pub payload: Vec<u8>,
    /// What this event holds of the byte budget.
    pub share: Share,
}

/// One event on its way to one endpoint.
#[derive(Debug)]
pub struct Delivery {
    /// What is delivered.
    pub event: Arc<Event>,
    /// The obligation to settle it.
    pub token: SettleToken,
    /// How often it was tried.
    pub attempts: u32,
}

impl fmt::Debug for Event {
    /// Never shows the payload: it belongs to the user's users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("lsn", &self.lsn)
            .field("place", &self.place)
            .field("payload_len", &self.payload.len())
            .finish_non_exhaustive()
    }
}
