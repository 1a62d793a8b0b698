//! The replication connection's way to a session: `connect` opens it.
//!
//! Protocol: [Streaming Replication Protocol](https://www.postgresql.org/docs/current/protocol-replication.html).

use pgstream_proto::frontend::StartupMessage;
use pgstream_proto::wal2json::SESSION_SETTINGS;

use super::ReplicationError;
use super::connection::Connection;
use crate::config::PgUrl;
use crate::connect::{self, Opened};

/// Session settings of ours. Those of the start-up message win over `ALTER ROLE … SET` and `ALTER DATABASE … SET`.
const PINNED: &[(&str, &str)] = &[("statement_timeout", "0")];

impl Connection {
    /// Connects and authenticates: to the first server of the URL that lets us in and is what `target_session_attrs` asks for.
    /// [`server`](Self::server) tells which one that is. The next call begins with the first server again.
    ///
    /// # Errors
    /// [`ReplicationError::Connect`]. Whether trying again may help says [`ReplicationError::is_permanent`].
    pub async fn open(url: &PgUrl) -> Result<Self, ReplicationError> {
        let Opened {
            framed,
            server,
            is_encrypted,
            key,
            ..
        } = connect::open(url, &startup_message(url)).await?;
        Ok(Self {
            framed,
            pid: key.map_or(0, |key| key.process_id),
            server,
            is_encrypted,
        })
    }
}

fn startup_message(url: &PgUrl) -> StartupMessage {
    let application_name = url.application_name.as_deref().unwrap_or("pgstream");
    let own = [
        ("user", url.user.as_str()),
        ("database", url.dbname.as_str()),
        ("replication", "database"),
        ("application_name", application_name),
    ];
    let parameters = own
        .iter()
        .chain(SESSION_SETTINGS)
        .chain(PINNED)
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    StartupMessage {
        parameters: parameters.collect(),
    }
}
