//! The loop: frames in, records to the intake, feedback out, and the orderly end.
//!
//! # The invariant
//!
//! Feedback never stops. Whatever the intake waits for, and however long, the loop still sends status updates; it
//! waits for the intake and for the next frame in one place only, where the timer is looked at first.
//!
//! What is reported as flushed and applied is the intake's confirmed LSN and nothing else; it never goes down.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{FutureExt, StreamExt};
use pgstream_proto::replication::{ReplicationMessage, StandbyStatusUpdate};
use pgstream_proto::{BackendMessage, FrontendMessage, Lsn};
use slog::{Logger, debug, trace, warn};
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::feedback::Feedback;
use super::intake::Intake;
use super::notices::Notices;
use super::session::Session;
use super::{ReplicationError, Report, ServerError, Vitals};

/// How many frames are taken in before what they caused is passed on.
const MAX_BATCH_FRAMES: usize = 64;
/// How many bytes are.
const MAX_BATCH_BYTES: usize = 256 * 1024;
/// How long the server may take to acknowledge the orderly end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a stream ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StreamError<E: std::error::Error + 'static> {
    /// The connection failed.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// The intake cannot go on.
    #[error(transparent)]
    Intake(E),
}

/// Streams until `stop` is cancelled; then waits for `settled`, while feedback goes on, and ends in order.
///
/// `progress` is notified when more may have become confirmable. Returns the last LSN that was confirmed.
pub async fn stream<I: Intake>(
    session: Session,
    intake: &mut I,
    progress: &Notify,
    stop: &CancellationToken,
    settled: impl Future<Output = ()>,
    log: &Logger,
) -> Result<Lsn, StreamError<I::Error>> {
    let vitals = Arc::clone(&session.vitals);
    let ended = stream_to_end(session, intake, progress, stop, settled, log).await;
    match &ended {
        Err(StreamError::Replication(_)) => vitals.lost(Instant::now()),
        _ => vitals.stopped(Instant::now()),
    }
    ended
}

async fn stream_to_end<I: Intake>(
    session: Session,
    intake: &mut I,
    progress: &Notify,
    stop: &CancellationToken,
    settled: impl Future<Output = ()>,
    log: &Logger,
) -> Result<Lsn, StreamError<I::Error>> {
    let mut stream = Stream {
        feedback: Feedback::new(session.wal_sender_timeout, Instant::now()),
        received: session.start,
        wal_end: session.start,
        confirmed: session.start,
        vitals: Arc::clone(&session.vitals),
        connection: session.connection,
        notices: Notices::new(log.clone()),
        log: log.clone(),
    };
    let outcome = stream.read(intake, progress, stop).await;
    intake.end();
    let settling = match &outcome {
        Err(StreamError::Intake(error)) => {
            warn!(log, "the stream cannot go on; what was read before is still delivered, then the program ends";
                "error" => %error);
            stream.settle(intake, progress, stop).await
        }
        _ => Ok(()),
    };
    // What is in flight is waited for after a failure too: all that can still be confirmed is not sent again.
    let waited = stream.wait(intake, progress, settled).await;
    if let Err(StreamError::Replication(error)) = outcome {
        return Err(error.into());
    }
    let parted = match settling.and(waited) {
        Ok(()) => stream.say_goodbye(intake).await,
        broken => broken,
    };
    // Why it could not go on is more than that the connection broke as well.
    outcome?;
    parted?;
    Ok(stream.confirmed)
}

struct Stream {
    connection: Connection,
    feedback: Feedback,
    notices: Notices,
    received: Lsn,
    wal_end: Lsn,
    confirmed: Lsn,
    vitals: Arc<Vitals>,
    log: Logger,
}

impl Stream {
    /// Reads until `stop` is cancelled.
    async fn read<I: Intake>(
        &mut self,
        intake: &mut I,
        progress: &Notify,
        stop: &CancellationToken,
    ) -> Result<(), StreamError<I::Error>> {
        loop {
            let watched = !self.feedback.has_progress();
            tokio::select! {
                biased;
                () = sleep_until(self.feedback.due().into()) => self.send_status(intake).await?,
                () = stop.cancelled() => return Ok(()),
                () = progress.notified(), if watched => self.feedback.progressed(),
                frame = next_frame(&mut self.connection, intake, &self.vitals) => self.take_batch(frame?, intake)?,
            }
        }
    }

    /// Reads nothing more, and has everything delivered that was read to its commit, or until `stop` is cancelled: a
    /// record that cannot be taken in must not keep the changes before it from being delivered and confirmed, since the
    /// only way past it skips all that is not.
    async fn settle<I: Intake>(
        &mut self,
        intake: &mut I,
        progress: &Notify,
        stop: &CancellationToken,
    ) -> Result<(), ReplicationError> {
        while !intake.is_settled() {
            tokio::select! {
                biased;
                () = sleep_until(self.feedback.due().into()) => self.send_status(intake).await?,
                () = stop.cancelled() => break,
                () = progress.notified() => self.feedback.progressed(),
            }
        }
        Ok(())
    }

    /// Waits for `settled`, reading nothing more.
    async fn wait<I: Intake>(
        &mut self,
        intake: &mut I,
        progress: &Notify,
        settled: impl Future<Output = ()>,
    ) -> Result<(), ReplicationError> {
        let mut settled = std::pin::pin!(settled);
        let mut broken = None;
        loop {
            let watched = !self.feedback.has_progress();
            tokio::select! {
                biased;
                () = &mut settled => break,
                () = sleep_until(self.feedback.due().into()), if broken.is_none() => {
                    broken = self.send_status(intake).await.err();
                }
                () = progress.notified(), if watched && broken.is_none() => self.feedback.progressed(),
            }
        }
        broken.map_or(Ok(()), Err)
    }

    /// Takes in this frame and those that follow it without waiting, then has the intake pass them on.
    fn take_batch<I: Intake>(
        &mut self,
        first: BackendMessage,
        intake: &mut I,
    ) -> Result<(), StreamError<I::Error>> {
        let heard = Instant::now();
        self.feedback.heard(heard);
        let mut frame = first;
        let mut bytes = 0;
        for taken in 1.. {
            bytes += self.take_frame(frame, intake)?;
            if taken == MAX_BATCH_FRAMES || bytes >= MAX_BATCH_BYTES || !intake.is_ready() {
                break;
            }
            let Some(next) = self.connection.framed.next().now_or_never() else {
                break;
            };
            frame = next
                .ok_or(ReplicationError::Closed)?
                .map_err(ReplicationError::from)?;
        }
        intake.flush();
        self.vitals.heard(self.received, self.wal_end, heard);
        if intake.confirmed() > self.confirmed {
            self.feedback.progressed();
        }
        Ok(())
    }

    /// Takes in one frame; returns its size.
    fn take_frame<I: Intake>(
        &mut self,
        frame: BackendMessage,
        intake: &mut I,
    ) -> Result<usize, StreamError<I::Error>> {
        let payload = match frame {
            BackendMessage::CopyData(payload) => payload,
            BackendMessage::NoticeResponse(fields) => {
                self.vitals.notice(self.notices.notice(&fields));
                return Ok(0);
            }
            BackendMessage::ParameterStatus(_) | BackendMessage::NotificationResponse(_) => return Ok(0),
            BackendMessage::CopyDone => return Err(ReplicationError::Closed.into()),
            BackendMessage::ErrorResponse(fields) => {
                let error = ServerError::from(&fields);
                return Err(ReplicationError::Server {
                    what: "to go on streaming".to_owned(),
                    error,
                }
                .into());
            }
            other => {
                return Err(ReplicationError::Unexpected {
                    message: other.name(),
                    expected: "CopyData",
                }
                .into());
            }
        };
        let size = payload.len();
        match ReplicationMessage::decode(payload).map_err(ReplicationError::from)? {
            ReplicationMessage::XLogData(record) => {
                trace!(self.log, "record"; "wal_start" => %record.wal_start, "bytes" => size);
                self.received = self.received.max(record.wal_start);
                self.wal_end = self.wal_end.max(record.wal_end);
                intake.record(record).map_err(StreamError::Intake)?;
            }
            ReplicationMessage::PrimaryKeepalive(keepalive) => {
                trace!(self.log, "keepalive"; "wal_end" => %keepalive.wal_end,
                    "reply_requested" => keepalive.reply_requested);
                self.received = self.received.max(keepalive.wal_end);
                self.wal_end = self.wal_end.max(keepalive.wal_end);
                intake.keepalive(keepalive.wal_end);
                if keepalive.reply_requested {
                    self.feedback.asked();
                }
            }
        }
        Ok(size)
    }

    /// Tells the server how far everything is settled. This is the only place where an LSN is confirmed.
    async fn send_status<I: Intake>(&mut self, intake: &mut I) -> Result<(), ReplicationError> {
        let now = Instant::now();
        self.confirmed = self.confirmed.max(intake.confirmed());
        let status = StandbyStatusUpdate {
            write: self.received.max(self.confirmed),
            flush: self.confirmed,
            apply: self.confirmed,
            client_time: SystemTime::now().into(),
            reply_requested: self.feedback.wants_reply(now),
        };
        let report = Report {
            received: status.write,
            confirmed: self.confirmed,
            has_unsettled: !intake.is_settled(),
            asks: status.reply_requested,
        };
        self.vitals.reports(report, now);
        trace!(self.log, "status update"; "write" => %status.write, "confirmed" => %self.confirmed);
        self.connection
            .send(FrontendMessage::CopyData(status.encode()))
            .await?;
        self.feedback.sent(now);
        Ok(())
    }

    /// Confirms what is settled and ends the copy. Reads on until the server has ended it too: a socket that is
    /// closed with unread data in it could take our last words with it.
    async fn say_goodbye<I: Intake>(&mut self, intake: &mut I) -> Result<(), ReplicationError> {
        self.send_status(intake).await?;
        self.connection.send(FrontendMessage::CopyDone).await?;
        let acknowledged = timeout(GOODBYE, async {
            while !matches!(self.connection.receive().await?, BackendMessage::CopyDone) {}
            Ok::<_, ReplicationError>(())
        });
        match acknowledged.await {
            Ok(Ok(())) => self.connection.send(FrontendMessage::Terminate).await?,
            Ok(Err(error)) => {
                debug!(self.log, "the server did not end the stream in order"; "error" => %error);
            }
            Err(_) => debug!(self.log, "the server did not end the stream in time"),
        }
        Ok(())
    }
}

/// Waits until the intake is ready, then for the next frame. Cancel-safe, as both of these are.
async fn next_frame<I: Intake>(
    connection: &mut Connection,
    intake: &mut I,
    vitals: &Vitals,
) -> Result<BackendMessage, StreamError<I::Error>> {
    if !intake.is_ready() {
        vitals.paused(Instant::now());
    }
    intake.ready().await.map_err(StreamError::Intake)?;
    vitals.resumed();
    let frame = connection.framed.next().await.ok_or(ReplicationError::Closed)?;
    Ok(frame.map_err(ReplicationError::from)?)
}
