//! The slot: what it is, and the start of its stream.

use std::sync::Arc;

use pgstream_proto::{BackendMessage, FrontendMessage, Lsn};

use super::Vitals;
use super::connection::Connection;
use super::{ReplicationError, ServerError};

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

/// A slot that can be streamed.
pub(super) struct Slot {
    /// The position from which it goes on.
    pub(super) confirmed: Lsn,
    /// The process that streams from it.
    pub(super) holder: Option<String>,
}

/// How to go on with a slot that has lost WAL. Subscriptions, backlogs and dead letters stay.
#[must_use]
pub fn remedy_of_a_lost_slot(slot: &str) -> String {
    format!(
        "changes since then are not delivered. To go on, run SELECT pg_drop_replication_slot('{slot}'), then pgstream init, then \
         pgstream run --accept-gap; pgstream backfill sends what receivers lack"
    )
}

pub(super) async fn describe_slot(
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
        (_, _, Some("lost")) => Err(ReplicationError::SlotLost {
            slot: slot.to_owned(),
        }),
        _ => match (row.text(3)?, row.text(4)?) {
            (None, None) => wrong("its creation was broken off".to_owned()),
            // It is being made, and waits for transactions that are open.
            (None, Some(maker)) => Ok(Slot {
                confirmed: Lsn::ZERO,
                holder: Some(maker.to_owned()),
            }),
            (Some(_), holder) => Ok(Slot {
                confirmed: row.parse(3)?,
                holder: holder.map(str::to_owned),
            }),
        },
    }
}

pub(super) async fn start_replication(
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
                    Some(error) => ReplicationError::Server {
                        what,
                        error: Box::new(error),
                    },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_quotes_what_it_names() {
        let options = SessionOptions {
            slot: "a\"b".into(),
            add_tables: vec!["s.*".into()],
            filter_tables: vec!["pgstream.x".into(), "s.it's".into()],
            vitals: Arc::new(Vitals::new(std::time::Instant::now())),
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
