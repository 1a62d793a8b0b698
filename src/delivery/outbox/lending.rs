//! What is lent to a worker, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::State;
use crate::delivery::backing::Delivery;
use crate::delivery::lanes::{Group, Member};
use crate::delivery::ready::Class;
use crate::delivery::worker::Slot;
use crate::endpoint::Permission;
use crate::event::Event;

/// An endpoint that has answered nothing for this long, with requests under way, may be one that hangs.
const SILENT: Duration = Duration::from_secs(1);

/// Some deliveries, lent to a worker together with a connection slot.
pub(in crate::delivery) struct Work {
    pub(super) group: Group,
    /// What is to be sent, in order.
    pub(in crate::delivery) events: Vec<Arc<Event>>,
    pub(in crate::delivery) slot: Arc<Slot>,
    /// Whether the endpoint gets batches, and so this as one.
    pub(in crate::delivery) batched: bool,
}

impl State {
    /// Lends the next work, if there is any and the window has room.
    pub(super) fn take(&mut self, now: Instant) -> Option<Work> {
        if !self.has_work(now) {
            return None;
        }
        let batch = self.settings.batch;
        let len = |delivery: &Delivery| delivery.event.payload.len() as u64;
        // The first goes in any case.
        let first = self.lanes.next_of_new_group().map_or(0, len);
        let (mut room, mut bytes) = (batch.size.saturating_sub(1), batch.bytes.saturating_sub(first));
        let group = self.lanes.take(|delivery| {
            let fits = room > 0 && len(delivery) <= bytes;
            if fits {
                room -= 1;
                bytes -= len(delivery);
            }
            fits
        })?;
        self.batch_since = None;
        self.in_flight += 1;
        self.waiting_since.get_or_insert(now);
        self.health.lent();
        let event = |member: Member| Arc::clone(&self.lanes.get(member).event);
        let events: Vec<_> = group.sending().map(event).collect();
        Some(Work {
            // One that waits since the batches were larger stays as it is.
            batched: batch.size > 1 || events.len() > 1,
            events,
            group,
            slot: self.slots.lend(),
        })
    }

    pub(super) fn has_work(&mut self, now: Instant) -> bool {
        let permitted = match self.health.permission(self.in_flight) {
            Permission::Free => self.in_flight < self.window.size(),
            Permission::OneProbe => true,
            Permission::Not => false,
        };
        permitted && !self.stopped && self.lanes.has_ready() && self.batch_is_due(now).is_none()
    }

    /// When a batch that waits for more is sent as it is; nothing if it need not wait.
    pub(super) fn batch_is_due(&mut self, now: Instant) -> Option<Instant> {
        let batch = self.settings.batch;
        // What waits behind what is ready may join it; what is sent once more stays as it is.
        let waiting = self.lanes.len() - self.lanes.in_flight() - self.lanes.delayed();
        let enough_bytes = self.in_flight == 0 && self.charge >= batch.bytes;
        let full = batch.size <= 1 || batch.wait.is_zero() || waiting >= batch.size || enough_bytes;
        if full || self.lanes.next_is_sent_once_more() {
            return None;
        }
        if !self.lanes.has_ready() {
            self.batch_since = None;
            return None;
        }
        let due = *self.batch_since.get_or_insert(now) + batch.wait;
        (due > now).then_some(due)
    }

    /// What is known of it, for the sharing of the workers.
    pub(super) fn class(&self, now: Instant) -> Class {
        let silent = self
            .waiting_since
            .is_some_and(|since| now.duration_since(since) >= SILENT);
        if self.health.is_failing() {
            Class::Failing
        } else if silent || self.delivered_at.is_none() {
            Class::Unproven
        } else if self.in_flight > 0 {
            Class::Served
        } else {
            Class::Proven
        }
    }
}
