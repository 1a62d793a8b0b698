//! Logical messages.

use bytes::Bytes;
use pgstream_proto::Lsn;
use pgstream_proto::wal2json::{Header, message_prefix};

use super::StreamIntake;
use crate::pipeline::PipelineError;
use crate::pipeline::parked::{Taken, Wait};
use crate::subscription::model::EventType;

/// Messages of this prefix only move the stream on, whoever emits them.
const HEARTBEAT_PREFIX: &str = "pgstream.heartbeat";

impl StreamIntake {
    /// A logical message. One outside of a transaction stands for one of its own.
    pub(super) fn message(
        &mut self,
        wal_start: Lsn,
        payload: &Bytes,
        header: &Header<'_>,
    ) -> Result<Taken, PipelineError> {
        let lsn = header.lsn.ok_or(PipelineError::Incomplete {
            wal_start,
            field: "lsn",
        })?;
        if self.open.is_none() {
            // Its LSN is the end of its record, and so may be where a commit record begins whose transaction comes next.
            // What happened within its record is before that, and behind all that was committed before.
            self.open(Lsn::new(lsn.as_u64().saturating_sub(1)), Some(lsn), true);
        }
        let taken = self.deliver_message(wal_start, payload, lsn)?;
        if matches!(taken, Taken::Done) {
            self.close_lone();
        }
        Ok(taken)
    }

    /// Messages are routed and ordered by their prefix, which stands where a change has its table.
    fn deliver_message(&mut self, wal_start: Lsn, payload: &Bytes, lsn: Lsn) -> Result<Taken, PipelineError> {
        let prefix = message_prefix(payload).map_err(self.unparsable(wal_start))?;
        let prefix = prefix.ok_or(PipelineError::Incomplete {
            wal_start,
            field: "prefix",
        })?;
        if prefix.is(HEARTBEAT_PREFIX) {
            return Ok(Taken::Done);
        }
        if let Some(open) = &mut self.open {
            open.is_notable = true;
        }
        let relation = self.relations.of_prefix(prefix);
        let set = self.open.as_ref().and_then(|open| open.set.as_ref());
        let Some(set) = set else {
            let fresh = self.subscriptions.request_fresh();
            return Ok(Taken::Wait(Wait::Subscriptions(fresh)));
        };
        let receivers = self.routes.receivers(set, &relation, EventType::Message);
        if receivers.is_empty() {
            self.occurrences.next(lsn, relation.hash);
            return Ok(Taken::Done);
        }
        if self.holds.is_closing(relation.key, &receivers) {
            return Ok(Taken::Wait(Wait::Hold));
        }
        self.matched(
            wal_start,
            payload,
            (EventType::Message, lsn),
            &relation,
            &receivers,
        )
    }
}
