//! What has been matched since the last flush, by endpoint: each endpoint is pushed to once.

use std::sync::Arc;

use crate::delivery::{Dispatcher, Outbox};
use crate::event::Event;
use crate::progress::SettleToken;

/// An event that an endpoint is to get.
type Obligation = (Arc<Event>, SettleToken);

/// Deliveries waiting for the flush.
#[derive(Default)]
pub(super) struct Batch {
    /// In the order in which the endpoints came up. Kept with their capacity from flush to flush.
    entries: Vec<(Arc<Outbox>, Vec<Obligation>)>,
    /// By the number of the outbox, where it stands in `entries`.
    positions: Vec<Option<usize>>,
}

/// An endpoint that gets nothing for a flush with so many others is dropped from the entries.
const MAX_IDLE_ENTRIES: usize = 256;

impl Batch {
    /// Adds a delivery for an endpoint.
    pub(super) fn push(&mut self, outbox: &Arc<Outbox>, event: &Arc<Event>, token: SettleToken) {
        let number = outbox.number();
        if self.positions.len() <= number {
            self.positions.resize(number + 1, None);
        }
        let position = *self.positions[number].get_or_insert_with(|| {
            self.entries.push((Arc::clone(outbox), Vec::new()));
            self.entries.len() - 1
        });
        self.entries[position].1.push((Arc::clone(event), token));
    }

    /// Submits everything, to each endpoint at once.
    pub(super) fn flush(&mut self, dispatcher: &Dispatcher) {
        for (outbox, deliveries) in &mut self.entries {
            if !deliveries.is_empty() {
                dispatcher.submit(outbox, deliveries.drain(..));
            }
        }
        if self.entries.len() > MAX_IDLE_ENTRIES {
            self.entries.clear();
            self.positions.fill(None);
        }
    }
}
