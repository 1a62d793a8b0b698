//! Who the source is, what the slot is, and the start of the stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgstream_proto::{BackendMessage, FrontendMessage, Lsn};
use slog::{Logger, info, warn};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::query::Row;
use super::{ReplicationError, ServerError, Vitals};
use crate::config::PgUrl;

/// SQLSTATE `object_in_use`: an old walsender still holds the slot, or another pgstream does.
const SLOT_ACTIVE: &str = "55006";
/// How long to wait before the slot is asked for again; doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a stream is asked to be.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The replication slot.
    pub slot: String,
    /// The only tables that the plugin sends, as `schema.table`; all if there is none.
    pub add_tables: Vec<String>,
    /// Tables that the plugin leaves out, as `schema.table`.
    pub filter_tables: Vec<String>,
    /// Where it is told how it does.
    pub vitals: Arc<Vitals>,
}

/// Who the source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The identifier of the database cluster.
    pub system_identifier: u64,
    /// Its timeline.
    pub timeline: u32,
}

/// A started stream.
#[derive(Debug)]
pub struct Session {
    /// The connection, in CopyBoth mode.
    pub connection: Connection,
    /// Who the source is.
    pub identity: Identity,
    /// The position that the slot had confirmed when the stream started: nothing before it is sent again.
    pub start: Lsn,
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
        log: &Logger,
        stop: &CancellationToken,
    ) -> Result<Self, ReplicationError> {
        options.vitals.connecting(Instant::now());
        let mut connection = Connection::open(url).await?;
        let identity = identify_system(&mut connection).await?;
        switch_timeouts_off(&mut connection).await?;
        let mut pause = FIRST_PAUSE;
        loop {
            // Each time anew: it may have been changed while this connection stood by.
            let wal_sender_timeout = wal_sender_timeout(&mut connection).await?;
            let slot = describe_slot(&mut connection, &options.slot, &url.dbname).await?;
            let started = match slot.holder {
                // It may confirm more until it ends, and then this would not be where the stream begins.
                Some(holder) => Err(format!("it is active for PID {holder}")),
                None => match start_replication(&mut connection, options, slot.confirmed).await {
                    Ok(()) => Ok(slot.confirmed),
                    Err(ReplicationError::Server { error, .. }) if error.code == SLOT_ACTIVE => {
                        Err(error.to_string())
                    }
                    Err(error) => return Err(error),
                },
            };
            match started {
                Ok(start) => {
                    options.vitals.streaming(start, Instant::now());
                    info!(log, "streaming"; "slot" => &options.slot, "from" => %start,
                        "system_identifier" => identity.system_identifier, "timeline" => identity.timeline);
                    return Ok(Self {
                        connection,
                        identity,
                        start,
                        wal_sender_timeout,
                        vitals: Arc::clone(&options.vitals),
                    });
                }
                Err(answer) => {
                    options.vitals.standing_by(Instant::now());
                    if pause == FIRST_PAUSE {
                        warn!(log, "standing by: another process streams from the slot, waiting until it ends";
                            "slot" => &options.slot, "answer" => answer);
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

async fn identify_system(connection: &mut Connection) -> Result<Identity, ReplicationError> {
    let row = only_row(connection, "IDENTIFY_SYSTEM", &[], "to identify itself").await?;
    Ok(Identity {
        system_identifier: row.parse(0)?,
        timeline: row.parse(1)?,
    })
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
    let row = only_row(connection, query, &[], "to tell its wal_sender_timeout").await?;
    Ok(Duration::from_millis(row.parse(0)?))
}

/// A slot that can be streamed.
struct Slot {
    /// The position from which it goes on.
    confirmed: Lsn,
    /// The process that streams from it.
    holder: Option<String>,
}

async fn describe_slot(
    connection: &mut Connection,
    slot: &str,
    dbname: &str,
) -> Result<Slot, ReplicationError> {
    let query = "SELECT plugin, database, coalesce(wal_status, ''), confirmed_flush_lsn, active_pid \
                 FROM pg_catalog.pg_replication_slots WHERE slot_name = :slot";
    let row = connection
        .query_row(query, &[(":slot", slot)], "to describe its replication slots")
        .await?;
    let row = row.ok_or_else(|| ReplicationError::SlotNotFound {
        slot: slot.to_owned(),
    })?;
    let wrong = |problem| {
        Err(ReplicationError::WrongSlot {
            slot: slot.to_owned(),
            problem,
        })
    };
    match (row.text(0)?, row.text(1)?, row.text(2)?) {
        (None, ..) => wrong("it is a physical slot".to_owned()),
        (Some(plugin), ..) if plugin != "wal2json" => {
            wrong(format!("its output plugin is {plugin}, not wal2json"))
        }
        (_, Some(database), _) if database != dbname => wrong(format!(
            "it belongs to the database {database:?}, not to {dbname:?}"
        )),
        (_, _, Some("lost")) => wrong("PostgreSQL has removed WAL that it needs".to_owned()),
        _ => Ok(Slot {
            confirmed: row.parse(3)?,
            holder: row.text(4)?.map(str::to_owned),
        }),
    }
}

async fn start_replication(
    connection: &mut Connection,
    options: &SessionOptions,
    start: Lsn,
) -> Result<(), ReplicationError> {
    let command = start_command(options, start);
    connection.send(FrontendMessage::Query(command)).await?;
    let mut refusal = None;
    loop {
        match connection.receive().await? {
            BackendMessage::CopyBothResponse(_) => return Ok(()),
            BackendMessage::NoticeResponse(_) | BackendMessage::ParameterStatus(_) => {}
            BackendMessage::ErrorResponse(fields) => refusal = Some(ServerError::from(&fields)),
            BackendMessage::ReadyForQuery(_) => {
                let what = format!("to stream from the slot {:?}", options.slot);
                return Err(match refusal {
                    Some(error) => ReplicationError::Server { what, error },
                    None => ReplicationError::Unexpected {
                        message: "ReadyForQuery",
                        expected: "CopyBothResponse",
                    },
                });
            }
            other => {
                return Err(ReplicationError::unexpected(
                    &other,
                    "to stream",
                    "CopyBothResponse",
                ));
            }
        }
    }
}

/// [START_REPLICATION](https://www.postgresql.org/docs/current/protocol-replication.html) with the options of
/// wal2json that the records are read by.
fn start_command(options: &SessionOptions, start: Lsn) -> String {
    let mut command = format!(
        "START_REPLICATION SLOT \"{}\" LOGICAL {start} (\"format-version\" '2', \"include-lsn\" 'on', \
         \"include-timestamp\" 'on', \"include-transaction\" 'on', \"include-xids\" 'on', \"include-pk\" 'on'",
        options.slot.replace('"', "\"\"")
    );
    for (option, tables) in [
        ("add-tables", &options.add_tables),
        ("filter-tables", &options.filter_tables),
    ] {
        if !tables.is_empty() {
            let tables = tables.join(",").replace('\'', "''");
            command.push_str(&format!(", \"{option}\" '{tables}'"));
        }
    }
    command.push(')');
    command
}

async fn only_row(
    connection: &mut Connection,
    query: &'static str,
    parameters: &[(&str, &str)],
    what: &str,
) -> Result<Row, ReplicationError> {
    let row = connection.query_row(query, parameters, what).await?;
    row.ok_or_else(|| ReplicationError::OddAnswer {
        query,
        what: "it has no row".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_quotes_what_it_names() {
        let options = SessionOptions {
            slot: "a\"b".into(),
            add_tables: vec!["s.*".into()],
            filter_tables: vec!["pgstream.x".into(), "s.it's".into()],
            vitals: Arc::new(Vitals::new(Instant::now())),
        };
        let command = start_command(&options, Lsn::new(0x1_0000_00A0));
        assert!(
            command.starts_with("START_REPLICATION SLOT \"a\"\"b\" LOGICAL 1/A0 (\"format-version\" '2'")
        );
        assert!(command.ends_with("\"add-tables\" 's.*', \"filter-tables\" 'pgstream.x,s.it''s')"));
        let none = SessionOptions {
            add_tables: Vec::new(),
            filter_tables: Vec::new(),
            ..options
        };
        assert!(!start_command(&none, Lsn::ZERO).contains("-tables"));
    }
}
