//! The intake as the stream sees it: what it waits for between two records.

use pgstream_proto::Lsn;
use pgstream_proto::replication::XLogData;
use pgstream_proto::wal2json::{self, Header};

use super::StreamIntake;
use super::seen::Passed;
use crate::pipeline::PipelineError;
use crate::pipeline::holds::Closing;
use crate::pipeline::parked::{Parked, Wait};
use crate::replication::{Identity, Intake, Interrupted};

impl StreamIntake {
    /// Reads what is to be read with the subscriptions that are in use now, between two transactions. Cancel-safe.
    async fn hand_over_at_rest(&mut self) {
        loop {
            if let Some((generation, requests, beginning)) = &mut self.hand_over.beginning {
                let (generation, requests) = (*generation, *requests);
                tokio::select! {
                    holds = beginning => {
                        self.hand_over.beginning = None;
                        self.hand_over.begun_at_rest(generation, requests);
                        self.holds.open(holds);
                    }
                    // It may wait for one to be closed.
                    closing = self.holds.closing() => {
                        self.close(closing);
                        continue;
                    }
                }
            }
            if !self.hand_over.begin_at_rest(&self.subscriptions.current()) {
                return;
            }
        }
    }

    fn close(&mut self, closing: Closing) {
        let left_out = self.holds.close(closing);
        self.hand_over.add(left_out);
    }
}

impl Intake for StreamIntake {
    type Error = PipelineError;

    async fn ready(&mut self) -> Result<(), PipelineError> {
        if let Some(recovering) = &mut self.recovering {
            recovering.await;
            self.recovering = None;
        }
        if let Some(starting) = &mut self.starting_injector {
            let started = starting.await;
            self.starting_injector = None;
            self.injector = Some(started.map_err(PipelineError::SchemaLog)?);
        }
        while let Some(closing) = self.holds.try_closing() {
            self.close(closing);
        }
        if self.open.is_none() && self.parked.is_none() {
            self.hand_over_at_rest().await;
        }
        while let Some(parked) = &mut self.parked {
            match &mut parked.wait {
                Wait::Room(bytes) => self.budget.room_for(*bytes).await,
                Wait::Injector => {
                    if let Some(injector) = &self.injector {
                        injector.room().await?;
                    }
                }
                Wait::Subscriptions(ticket) => {
                    let set = self.subscriptions.fresh(*ticket).await?;
                    if let Some(open) = &mut self.open {
                        open.set = Some(set);
                    }
                }
                Wait::Partitions(looking) => {
                    if looking.await {
                        return Err(PipelineError::Partitions);
                    }
                    if let Some(open) = &mut self.open {
                        open.has_no_partitions = true;
                    }
                }
                Wait::Table(answer) => {
                    let answer = answer.await;
                    if let Some(open) = &mut self.open {
                        open.is_unseen |= answer.is_unseen;
                    }
                    let header = wal2json::header(&parked.record.payload);
                    if let Ok(Header {
                        schema: Some(schema),
                        table: Some(table),
                        ..
                    }) = header
                    {
                        self.relations
                            .insert(schema, table, answer, self.injector.as_ref());
                    }
                }
                Wait::HandOver(generation, beginning) => {
                    tokio::select! {
                        holds = beginning => {
                            self.hand_over.begun(*generation);
                            self.holds.open(holds);
                        }
                        // It may wait for one to be closed.
                        closing = self.holds.closing() => {
                            self.close(closing);
                            continue;
                        }
                    }
                }
                // It may be closed by now: this wait may have been broken off, and what it waited for come before it went on.
                Wait::Hold if !self.holds.are_closing() => {}
                Wait::Hold => {
                    let closing = self.holds.closing().await;
                    self.close(closing);
                }
                Wait::Burial(burial) => {
                    burial.await;
                    self.parked = None;
                    self.close_lone();
                }
            }
            if let Some(parked) = self.parked.take() {
                self.take(parked.record)?;
            }
            if !matches!(
                &self.parked,
                Some(Parked {
                    wait: Wait::Room(_),
                    ..
                })
            ) {
                self.budget.stream_goes_on();
            }
            self.flush();
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.parked.is_none()
            && self.recovering.is_none()
            && self.starting_injector.is_none()
            && !self.holds.has_closings()
            && (self.open.is_some()
                || self
                    .hand_over
                    .is_settled_at_rest(self.subscriptions.current().generation()))
    }

    fn record(&mut self, record: XLogData) -> Result<(), PipelineError> {
        if let Some(replay) = &mut self.replay {
            let (at, length) = (record.wal_start, record.payload.len());
            match replay.pass(at, length) {
                Passed::More => {}
                Passed::All => self.replay = None,
                Passed::Another => return Err(PipelineError::ReadsDifferently { wal_start: at }),
            }
            return Ok(());
        }
        self.seen.add(record.wal_start, record.payload.len());
        self.counts.record(record.payload.len());
        self.take(record)
    }

    fn interrupted(&mut self) -> Interrupted {
        self.flush();
        self.replay = self.seen.replay();
        Interrupted {
            received: self.received,
            transaction_end: self.open.as_ref().and_then(|open| open.end),
        }
    }

    fn resumed(&mut self, identity: Identity, branched_off: Option<Lsn>) -> Result<(), PipelineError> {
        if branched_off.is_some_and(|at| self.position.highest_mark > at || self.hand_over.reaches(at)) {
            return Err(PipelineError::MarksOfAnotherTimeline);
        }
        self.position.position.timeline(identity.timeline, branched_off);
        Ok(())
    }

    fn keepalive(&mut self, wal_end: Lsn) {
        if self.open.is_none() && self.parked.is_none() {
            self.received = self.received.max(wal_end);
            self.ledger.idle(wal_end);
        }
    }

    fn flush(&mut self) {
        self.batch.flush(&self.dispatcher);
    }

    fn end(&mut self) {
        self.flush();
        self.parked = None;
        self.hand_over.end();
        self.holds.end();
        self.open = None;
        if let Some(injector) = &self.injector {
            injector.finish();
        }
    }

    async fn part(&mut self) {
        self.confirmed();
        self.position.position.written().await;
    }

    fn confirmed(&mut self) -> Lsn {
        let settled = self.ledger.confirmed();
        self.holds.confirmed(settled);
        self.position.position.settled(settled, self.notable)
    }

    fn is_settled(&mut self) -> bool {
        self.ledger.is_settled()
    }
}
