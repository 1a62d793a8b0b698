//! From a URL to a session that takes replication commands.
//!
//! Protocol: [Start-up](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP) and
//! [Streaming Replication Protocol](https://www.postgresql.org/docs/current/protocol-replication.html).

use std::time::Duration;

use pgstream_proto::frontend::StartupMessage;
use pgstream_proto::wal2json::SESSION_SETTINGS;
use pgstream_proto::{BackendMessage, FrontendMessage, PgCodec, limits};
use tokio::time::timeout;
use tokio_util::codec::Framed;

use super::authenticate::authenticate;
use super::connection::Connection;
use super::{ReplicationError, socket};
use crate::config::PgUrl;

/// How long connecting may take, where the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Session settings of ours. Those of the start-up message win over `ALTER ROLE … SET` and `ALTER DATABASE … SET`.
const PINNED: &[(&str, &str)] = &[("statement_timeout", "0")];

impl Connection {
    /// Connects and authenticates.
    pub async fn open(url: &PgUrl) -> Result<Self, ReplicationError> {
        let within = url.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let address = socket::address(url);
        timeout(within, Self::start_up(url))
            .await
            .unwrap_or(Err(ReplicationError::ConnectTimeout { address, within }))
    }

    async fn start_up(url: &PgUrl) -> Result<Self, ReplicationError> {
        let socket = socket::open(url)
            .await
            .map_err(|source| ReplicationError::Connect {
                address: socket::address(url),
                source,
            })?;
        let framed = Framed::with_capacity(socket, PgCodec::new(), limits::READ_CHUNK);
        let mut connection = Self { framed, pid: 0 };
        connection
            .send(FrontendMessage::Startup(startup_message(url)))
            .await?;
        authenticate(&mut connection, url).await?;
        connection.await_ready().await?;
        Ok(connection)
    }

    /// Takes what the server says of itself until it waits for commands.
    async fn await_ready(&mut self) -> Result<(), ReplicationError> {
        loop {
            match self.receive().await? {
                BackendMessage::ReadyForQuery(_) => return Ok(()),
                BackendMessage::BackendKeyData(key) => self.pid = key.process_id,
                BackendMessage::ParameterStatus(_)
                | BackendMessage::NegotiateProtocolVersion(_)
                | BackendMessage::NoticeResponse(_) => {}
                other => {
                    return Err(ReplicationError::unexpected(
                        &other,
                        "the connection",
                        "ReadyForQuery",
                    ));
                }
            }
        }
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
