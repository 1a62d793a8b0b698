//! The loop: frames in, records to the intake, feedback out, lost connections, and the orderly end.
//!
//! # The invariant
//!
//! Feedback never stops. Whatever the intake waits for, and however long, the loop still sends status updates; it
//! waits for the intake and for the next frame in one place only, where the timer is looked at first.
//!
//! What is reported as flushed and applied is the intake's confirmed LSN and nothing else; it never goes down.
//!
//! A connection that is lost changes nothing of what was taken in: what is pending is still delivered, and what is settled
//! stays so. The next connection is asked for what comes behind the last transaction that was received as a whole, and of one
//! that was being read, the intake passes over the records that it has. So nothing comes twice, and nothing is left out, as
//! long as the source is the same; whether it is, is found out before (see [`history`](super::history)).
//!
//! Silence is no sign of death: a walsender that skips a huge transaction says nothing, and an idle one neither. After half the
//! server's timeout it is asked for a reply. If none comes, a witness is asked over another connection whether the walsender
//! is still there; if it is not, the connection is lost, although nothing has told so.

mod apart;
mod frames;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use pgstream_proto::replication::StandbyStatusUpdate;
use pgstream_proto::{BackendMessage, FrontendMessage, Lsn};
use slog::{Logger, debug, trace, warn};
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::ReplicationError;
use super::connection::Connection;
use super::connector::Connector;
use super::feedback::Feedback;
use super::history::Identity;
use super::intake::Intake;
use super::notices::Notices;
use super::repeated::Repeated;
use super::session::Session;
use super::vitals::{Report, Vitals};

/// How long the server may take to acknowledge the orderly end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a stream ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StreamError<E: std::error::Error + 'static> {
    /// The connection failed, and cannot be made again.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// The intake cannot go on.
    #[error(transparent)]
    Intake(E),
}

/// Whether a process of the server still sends the slot's stream, as seen from another connection. `None` if that cannot be
/// found out.
pub type Witness = Box<dyn Fn(i32) -> Testimony + Send + Sync>;
/// An answer of a [`Witness`] that is under way.
type Testimony = Pin<Box<dyn Future<Output = Option<bool>> + Send>>;

/// A started stream, and how it is started again.
pub struct Link {
    /// It.
    pub session: Session,
    /// Makes the next one.
    pub connector: Connector,
    /// Says whether the server's end is still there.
    pub witness: Witness,
}

/// Streams until `stop` is cancelled; then waits for `settled`, while feedback goes on, and ends in order.
///
/// `progress` is notified when more may have become confirmable. Returns the last LSN that was confirmed.
pub async fn stream<I: Intake>(
    link: Link,
    intake: &mut I,
    progress: &Notify,
    stop: &CancellationToken,
    settled: impl Future<Output = ()>,
    log: &Logger,
) -> Result<Lsn, StreamError<I::Error>> {
    let vitals = Arc::clone(&link.session.vitals);
    let ended = stream_to_end(link, intake, progress, stop, settled, log).await;
    vitals.stopped(Instant::now());
    ended
}

async fn stream_to_end<I: Intake>(
    link: Link,
    intake: &mut I,
    progress: &Notify,
    stop: &CancellationToken,
    settled: impl Future<Output = ()>,
    log: &Logger,
) -> Result<Lsn, StreamError<I::Error>> {
    let Link {
        session,
        connector,
        witness,
    } = link;
    let mut stream = Stream {
        identity: session.identity,
        vitals: Arc::clone(&session.vitals),
        confirmed: session.slot,
        live: Some(Live::new(session, Notices::new(log.clone()), log)),
        connector,
        witness,
        repeated: Repeated::default(),
        log: log.clone(),
    };
    let mut outcome = stream.read_on(intake, progress, stop).await;
    intake.end();
    let is_stuck = matches!(
        outcome,
        Err(StreamError::Intake(_) | StreamError::Replication(ReplicationError::Unsendable { .. }))
    );
    if is_stuck {
        warn!(log, "the stream cannot go on; what was read before is still delivered, then the program ends";
            "event" => "stream_stuck");
        stream.settle(intake, progress, stop).await;
    }
    if let Err(error) = &outcome
        && is_stuck
        && !intake.is_settled()
    {
        // Whoever is told why it cannot go on may skip what is in the way, and all that is not settled with it.
        warn!(log, "told to end before all of that is delivered: why it cannot go on is told after the next start";
            "event" => "stream_stuck", "error" => #error);
        outcome = Ok(());
    }
    // What is in flight is waited for after a failure too: all that can still be confirmed is not sent again.
    let waited = stream.wait(intake, progress, settled).await;
    if let Err(StreamError::Replication(error)) = outcome {
        return Err(error.into());
    }
    let parted = match waited {
        Ok(()) => {
            intake.part().await;
            stream.say_goodbye(intake).await
        }
        broken => broken,
    };
    // Why it could not go on is more than that the connection broke as well.
    outcome?;
    if let Err(error) = parted {
        warn!(log, "could not confirm what is settled; it is sent again after the next start"; "error" => #&error,
            "confirmed" => %stream.confirmed);
    }
    Ok(stream.confirmed)
}

struct Stream {
    connector: Connector,
    witness: Witness,
    /// None while there is no connection.
    live: Option<Live>,
    /// Who the source was last.
    identity: Identity,
    repeated: Repeated,
    confirmed: Lsn,
    vitals: Arc<Vitals>,
    log: Logger,
}

/// What belongs to one connection.
struct Live {
    connection: Connection,
    feedback: Feedback,
    /// Whether anything has come over it.
    is_good: bool,
    received: Lsn,
    /// The end of the server's WAL, as it said last.
    wal_end: Lsn,
    vitals: Arc<Vitals>,
    /// What the witness is being asked.
    asking: Option<Testimony>,
    notices: Notices,
    log: Logger,
}

impl Live {
    fn new(session: Session, notices: Notices, log: &Logger) -> Self {
        Self {
            feedback: Feedback::new(session.wal_sender_timeout, Instant::now()),
            is_good: false,
            received: session.start,
            wal_end: session.start,
            vitals: session.vitals,
            connection: session.connection,
            asking: None,
            notices,
            log: log.clone(),
        }
    }

    /// Has the witness asked where nothing was heard for long, or the server wants to be told more than is settled.
    fn look_after(&mut self, witness: &Witness) {
        let now = Instant::now();
        if self.asking.is_none() && self.feedback.wants_witness(now) {
            self.feedback.asked_witness(now);
            self.asking = Some(witness(self.connection.pid));
        }
    }
}

impl Stream {
    /// Reads until `stop` is cancelled, over one connection after the other.
    async fn read_on<I: Intake>(
        &mut self,
        intake: &mut I,
        progress: &Notify,
        stop: &CancellationToken,
    ) -> Result<(), StreamError<I::Error>> {
        while let Err(error) = self.read(intake, progress, stop).await {
            let StreamError::Replication(error) = error else {
                return Err(error);
            };
            if !self.reconnect(error, intake, progress, stop).await? {
                break;
            }
        }
        Ok(())
    }

    /// Reads until `stop` is cancelled, or the connection is lost.
    async fn read<I: Intake>(
        &mut self,
        intake: &mut I,
        progress: &Notify,
        stop: &CancellationToken,
    ) -> Result<(), StreamError<I::Error>> {
        loop {
            let Some(live) = &mut self.live else {
                return Ok(());
            };
            live.look_after(&self.witness);
            let watched = !live.feedback.has_progress();
            tokio::select! {
                biased;
                () = sleep_until(live.feedback.due().into()) => self.send_status(intake).await?,
                () = stop.cancelled() => return Ok(()),
                () = progress.notified(), if watched => live.feedback.progressed(),
                is_there = testimony(&mut live.asking) => {
                    match is_there {
                        Some(false) => return Err(ReplicationError::Gone.into()),
                        Some(true) => debug!(self.log, "the walsender is silent, and still there"),
                        None => debug!(self.log, "the walsender is silent, and cannot be asked about"),
                    }
                }
                frame = next_frame(&mut live.connection, intake, &self.vitals) => {
                    let frame = frame?;
                    if !live.is_good {
                        live.is_good = true;
                        self.connector.worked();
                    }
                    live.take_batch(frame, intake)?;
                    if intake.confirmed() > self.confirmed {
                        live.feedback.progressed();
                    }
                }
            }
        }
    }

    /// Reads nothing more, and has everything delivered that was read to its commit, or until `stop` is cancelled: a
    /// record that cannot be taken in must not keep the changes before it from being delivered and confirmed, since the
    /// only way past it skips all that is not. Without a connection they are delivered all the same.
    async fn settle<I: Intake>(&mut self, intake: &mut I, progress: &Notify, stop: &CancellationToken) {
        while !intake.is_settled() {
            let due = self.due();
            tokio::select! {
                biased;
                () = due => {
                    if self.send_status(intake).await.is_err() {
                        self.live = None;
                    }
                }
                () = stop.cancelled() => break,
                () = progress.notified() => self.progressed(),
            }
        }
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
            let watched = self
                .live
                .as_ref()
                .is_some_and(|live| !live.feedback.has_progress());
            let due = self.due();
            tokio::select! {
                biased;
                () = &mut settled => break,
                () = due, if broken.is_none() => {
                    broken = self.send_status(intake).await.err();
                }
                () = progress.notified(), if watched && broken.is_none() => self.progressed(),
            }
        }
        broken.map_or(Ok(()), Err)
    }

    /// Resolves when the next status update is due; never while there is no connection.
    fn due(&self) -> impl Future<Output = ()> + use<> {
        let due = self.live.as_ref().map(|live| live.feedback.due());
        async move {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => pending().await,
            }
        }
    }

    fn progressed(&mut self) {
        if let Some(live) = &mut self.live {
            live.feedback.progressed();
        }
    }

    /// Tells the server how far everything is settled. This is the only place where an LSN is confirmed.
    async fn send_status<I: Intake>(&mut self, intake: &mut I) -> Result<(), ReplicationError> {
        let now = Instant::now();
        let Some(live) = &mut self.live else {
            return Err(ReplicationError::Closed);
        };
        self.confirmed = self.confirmed.max(intake.confirmed());
        let status = StandbyStatusUpdate {
            write: live.received.max(self.confirmed),
            flush: self.confirmed,
            apply: self.confirmed,
            client_time: SystemTime::now().into(),
            reply_requested: live.feedback.wants_reply(now),
        };
        let report = Report {
            received: status.write,
            confirmed: self.confirmed,
            has_unsettled: !intake.is_settled(),
            asks: status.reply_requested,
        };
        self.vitals.reports(report, now);
        trace!(self.log, "status update"; "write" => %status.write, "confirmed" => %self.confirmed);
        live.connection
            .send(FrontendMessage::CopyData(status.encode()))
            .await?;
        live.feedback.sent(now);
        Ok(())
    }

    /// Confirms what is settled and ends the copy. Reads on until the server has ended it too: a socket that is
    /// closed with unread data in it could take our last words with it.
    async fn say_goodbye<I: Intake>(&mut self, intake: &mut I) -> Result<(), ReplicationError> {
        self.send_status(intake).await?;
        let Some(live) = &mut self.live else {
            return Err(ReplicationError::Closed);
        };
        live.connection.send(FrontendMessage::CopyDone).await?;
        let acknowledged = timeout(GOODBYE, async {
            while !matches!(live.connection.receive().await?, BackendMessage::CopyDone) {}
            Ok::<_, ReplicationError>(())
        });
        match acknowledged.await {
            Ok(Ok(())) => live.connection.send(FrontendMessage::Terminate).await?,
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

/// What the witness says, once it is asked and answers.
async fn testimony(asking: &mut Option<Testimony>) -> Option<bool> {
    match asking {
        Some(answer) => {
            let answer = answer.await;
            *asking = None;
            answer
        }
        None => pending().await,
    }
}
