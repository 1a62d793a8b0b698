//! Logical messages.

use std::sync::Arc;

use bytes::Bytes;
use pgstream_proto::Lsn;
use pgstream_proto::wal2json::{Header, JsonStr};

use super::StreamIntake;
use crate::pipeline::PipelineError;
use crate::pipeline::catalog::Answer;
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
            self.open(lsn, Some(lsn), true);
        }
        let taken = self.deliver_message(wal_start, payload, lsn)?;
        if matches!(taken, Taken::Done) {
            self.close_lone();
        }
        Ok(taken)
    }

    /// Messages are routed and ordered by their prefix, which stands where a change has its table.
    fn deliver_message(&mut self, wal_start: Lsn, payload: &Bytes, lsn: Lsn) -> Result<Taken, PipelineError> {
        let unparsable = self.unparsable(wal_start);
        let record = self.parser.parse(payload).map_err(unparsable)?;
        let prefix = record.prefix.ok_or(PipelineError::Incomplete {
            wal_start,
            field: "prefix",
        })?;
        if prefix.is(HEARTBEAT_PREFIX) {
            return Ok(Taken::Done);
        }
        let relation = match self.relations.get(JsonStr::EMPTY, prefix, None) {
            Some(known) => Arc::clone(known),
            None => self
                .relations
                .insert(JsonStr::EMPTY, prefix, Answer::NOTHING, None),
        };
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
        self.matched(
            wal_start,
            payload,
            (EventType::Message, lsn),
            &relation,
            &receivers,
        )
    }
}
