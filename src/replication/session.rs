//! Who the source is, whether its stream can go on, and the start of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgstream_proto::Lsn;
use slog::{Logger, info, warn};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::history::{Found, Gap, Identity, Remembered, Switch, compare, read_history};
use super::slot::{Slot, describe_slot, start_replication};
use super::{ReplicationError, SessionOptions, Vitals};
use crate::config::PgUrl;
use crate::connect::sqlstate::OBJECT_IN_USE;

/// How long the server may take to answer what is asked before the stream starts, where `connect_timeout` says nothing.
const SET_UP: Duration = Duration::from_secs(30);
/// How long to wait before the slot is asked for again; doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where a stream is to go on.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartFrom {
    /// What is remembered of the source, if it was ever streamed.
    pub remembered: Option<Remembered>,
    /// Everything up to here was received and is not to come again. Nothing was, where the program has just been started:
    /// then it comes from where the slot is.
    pub received: Option<Lsn>,
    /// Whether it is to go on from where the slot is even though commits may be missing.
    pub accept_gap: bool,
}

/// A started stream.
#[derive(Debug)]
pub struct Session {
    /// The connection, in CopyBoth mode.
    pub connection: Connection,
    /// Who the source is.
    pub identity: Identity,
    /// Nothing before this position comes.
    pub start: Lsn,
    /// The position that the slot had confirmed.
    pub slot: Lsn,
    /// Where our timeline ended, if the server is on a later one.
    pub branched_off: Option<Lsn>,
    /// Why commits may be missing, which was accepted.
    pub gap: Option<Gap>,
    /// After so much silence of ours the server ends the connection. Zero: never.
    pub wal_sender_timeout: Duration,
    /// Where it is told how it does.
    pub vitals: Arc<Vitals>,
}

impl Session {
    /// Connects and starts the stream. While another walsender holds the slot, it waits until `stop` is cancelled.
    pub async fn start(
        url: &PgUrl,
        options: &SessionOptions,
        from: &StartFrom,
        log: &Logger,
        stop: &CancellationToken,
    ) -> Result<Self, ReplicationError> {
        options.vitals.connecting(Instant::now());
        let mut connection = Connection::open(url).await?;
        let limit = url.connect_timeout.unwrap_or(SET_UP);
        within(limit, async {
            refuse_standby(&mut connection).await?;
            switch_timeouts_off(&mut connection).await
        })
        .await?;
        let mut pause = FIRST_PAUSE;
        loop {
            match within(limit, try_start(connection, &url.dbname, options, from)).await? {
                Attempt::Started(session) => {
                    let Self {
                        connection,
                        identity,
                        start,
                        ..
                    } = &*session;
                    options.vitals.streaming(*start, Instant::now());
                    info!(log, "streaming"; "event" => "connected", "slot" => &options.slot, "from" => %start,
                        "system_identifier" => identity.system_identifier, "timeline" => identity.timeline,
                        "pid" => connection.pid, "server" => connection.server(),
                        "encrypted" => connection.is_encrypted());
                    return Ok(*session);
                }
                Attempt::InUse(unused, answer) => {
                    connection = unused;
                    options.vitals.slot_is_busy(Instant::now());
                    if pause == FIRST_PAUSE {
                        warn!(log, "standing by: another process streams from the slot, waiting until it ends";
                            "event" => "standing_by", "slot" => &options.slot, "answer" => answer);
                    }
                }
            }
            stop.run_until_cancelled(sleep(pause))
                .await
                .ok_or(ReplicationError::Stopped)?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// What came of asking for the stream.
enum Attempt {
    Started(Box<Session>),
    /// Another process has the slot, as the server says. The connection can be used again.
    InUse(Connection, String),
}

/// Asks for the stream. All there is to know is asked each time anew: it may have changed while this connection stood by.
async fn try_start(
    mut connection: Connection,
    dbname: &str,
    options: &SessionOptions,
    from: &StartFrom,
) -> Result<Attempt, ReplicationError> {
    let wal_sender_timeout = wal_sender_timeout(&mut connection).await?;
    let (identity, wal_end) = identify_system(&mut connection).await?;
    let slot = describe_slot(&mut connection, &options.slot, dbname).await?;
    if let Some(holder) = slot.holder {
        // It may confirm more until it ends, and then this would not be where the stream begins.
        return Ok(Attempt::InUse(
            connection,
            format!("it is active for PID {holder}"),
        ));
    }
    let server = Server { identity, wal_end };
    let (branched_off, gap) = server.check(&mut connection, &slot, from).await?;
    let start = slot.confirmed.max(from.received.unwrap_or(Lsn::ZERO));
    match start_replication(&mut connection, options, start).await {
        Ok(()) => Ok(Attempt::Started(Box::new(Session {
            connection,
            identity,
            start,
            slot: slot.confirmed,
            branched_off,
            gap,
            wal_sender_timeout,
            vitals: Arc::clone(&options.vitals),
        }))),
        Err(ReplicationError::Server { error, .. }) if error.code == OBJECT_IN_USE => {
            Ok(Attempt::InUse(connection, error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// A server that accepts connections and answers nothing must not be waited for without an end.
async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, ReplicationError>>,
) -> Result<T, ReplicationError> {
    timeout(limit, step)
        .await
        .unwrap_or(Err(ReplicationError::Slow { within: limit }))
}

/// What `IDENTIFY_SYSTEM` says.
#[derive(Clone, Copy)]
struct Server {
    identity: Identity,
    wal_end: Lsn,
}

impl Server {
    /// Whether the stream can go on here. Where our timeline ended, and why commits may be missing, if that is accepted.
    async fn check(
        self,
        connection: &mut Connection,
        slot: &Slot,
        from: &StartFrom,
    ) -> Result<(Option<Lsn>, Option<Gap>), ReplicationError> {
        let Self { identity, wal_end } = self;
        let Some(remembered) = &from.remembered else {
            return Ok((None, None));
        };
        let switches = if identity.timeline == remembered.identity.timeline {
            Vec::new()
        } else {
            timeline_history(connection, identity.timeline).await?
        };
        let found = Found {
            identity,
            switches,
            wal_end,
            slot: slot.confirmed,
        };
        match compare(remembered, &found) {
            Ok(branched_off) => Ok((branched_off, None)),
            Err(gap) if from.accept_gap => Ok((None, Some(gap))),
            Err(gap) => Err(ReplicationError::Gap(gap)),
        }
    }
}

/// A stand-by has no slot of its own that follows the primary's, and its WAL may end before what was streamed.
async fn refuse_standby(connection: &mut Connection) -> Result<(), ReplicationError> {
    let query = "SELECT pg_catalog.pg_is_in_recovery()";
    let row = connection
        .query_only_row(query, "to tell whether it is a stand-by")
        .await?;
    match row.text(0)? {
        Some("t") => Err(ReplicationError::Standby),
        _ => Ok(()),
    }
}

async fn identify_system(connection: &mut Connection) -> Result<(Identity, Lsn), ReplicationError> {
    let row = connection
        .query_only_row("IDENTIFY_SYSTEM", "to identify itself")
        .await?;
    let identity = Identity {
        system_identifier: row.parse(0)?,
        timeline: row.parse(1)?,
    };
    Ok((identity, row.parse(2)?))
}

/// Where the timelines ended that the server went through. The first one has no history.
async fn timeline_history(
    connection: &mut Connection,
    timeline: u32,
) -> Result<Vec<Switch>, ReplicationError> {
    const QUERY: &str = "TIMELINE_HISTORY :timeline";
    if timeline <= 1 {
        return Ok(Vec::new());
    }
    let row = connection
        .command_row(
            QUERY,
            &format!("TIMELINE_HISTORY {timeline}"),
            "to tell its history",
        )
        .await?;
    let odd = |what| ReplicationError::OddAnswer { query: QUERY, what };
    let row = row.ok_or_else(|| odd("it has no row".to_owned()))?;
    let file = row.text(1)?.unwrap_or_default();
    read_history(file).ok_or_else(|| odd(format!("it is not a history file: {file:?}")))
}

/// Switches off the timeouts that would end a stream. They cannot be start-up options: older servers do not know them.
async fn switch_timeouts_off(connection: &mut Connection) -> Result<(), ReplicationError> {
    let query = "SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings \
                 WHERE name IN ('transaction_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout')";
    connection
        .query_row(query, &[], "to switch timeouts off")
        .await
        .map(drop)
}

async fn wal_sender_timeout(connection: &mut Connection) -> Result<Duration, ReplicationError> {
    let query = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'";
    let row = connection
        .query_only_row(query, "to tell its wal_sender_timeout")
        .await?;
    Ok(Duration::from_millis(row.parse(0)?))
}
