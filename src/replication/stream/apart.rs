//! Between two connections.

use std::time::Instant;

use slog::{info, warn};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Live, Stream, StreamError};
use crate::replication::history::Remembered;
use crate::replication::intake::{Intake, Interrupted};
use crate::replication::notices::Notices;
use crate::replication::{ReplicationError, StartFrom};

/// So often the same failure at the same position is one that does not heal.
const TOO_OFTEN: u32 = 3;

impl Stream {
    /// Connects again, while what was taken in goes on being delivered. Whether there is a connection: not if `stop` was
    /// cancelled.
    pub(super) async fn reconnect<I: Intake>(
        &mut self,
        error: ReplicationError,
        intake: &mut I,
        progress: &Notify,
        stop: &CancellationToken,
    ) -> Result<bool, StreamError<I::Error>> {
        self.vitals.lost(Instant::now());
        let interrupted = intake.interrupted();
        let Interrupted {
            received,
            transaction_end,
        } = interrupted;
        let notices = self
            .live
            .take()
            .map_or_else(|| Notices::new(self.log.clone()), |live| live.notices);
        warn!(self.log, "the replication connection is lost"; "event" => "connection_lost", "error" => #&error, "received" => %received,
            "confirmed" => %self.confirmed);
        let from = StartFrom {
            remembered: Some(Remembered {
                identity: self.identity,
                position: transaction_end.unwrap_or(received).max(received),
                bound: self.confirmed,
            }),
            received: Some(received),
            accept_gap: false,
        };
        // What the server says of a record is asked as often as it takes to know that it does not heal.
        let limit = if error.of_a_record().is_some() {
            None
        } else {
            self.connector.max_retries
        };
        let hopeless = self.is_hopeless(&error, interrupted);
        let connecting = async {
            if let Some(hopeless) = hopeless {
                return Err(hopeless);
            }
            self.connector.failed(error, limit).await?;
            self.connector.connect(&from).await
        };
        tokio::pin!(connecting);
        let session = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(false),
                connected = &mut connecting => break connected?,
                ready = intake.ready(), if !intake.is_ready() => ready.map_err(StreamError::Intake)?,
                // What is settled is let go of, and what waits for that goes on.
                () = progress.notified() => {
                    intake.confirmed();
                }
            }
        };
        if let Some(at) = session.branched_off {
            info!(self.log, "the source is on another timeline; nothing of what was streamed is missing there";
                "event" => "timeline_switched", "timeline" => session.identity.timeline, "branched_off_at" => %at);
        }
        self.identity = session.identity;
        intake
            .resumed(session.identity, session.branched_off)
            .map_err(StreamError::Intake)?;
        self.live = Some(Live::new(session, notices, &self.log));
        Ok(true)
    }

    /// What the failure is, if it has come too often in the same way at the same position.
    fn is_hopeless(
        &mut self,
        error: &ReplicationError,
        interrupted: Interrupted,
    ) -> Option<ReplicationError> {
        let Interrupted {
            received,
            transaction_end,
        } = interrupted;
        let server_error = error.of_a_record()?;
        let times = self.repeated.count(received, &server_error.to_string());
        (times >= TOO_OFTEN).then(|| ReplicationError::Unsendable {
            received,
            transaction_end,
            times,
            error: Box::new(server_error.clone()),
        })
    }
}
