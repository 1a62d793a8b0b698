//! A connection in replication mode: messages out and in.

use futures_util::{SinkExt, StreamExt};
use pgstream_proto::{BackendMessage, FrontendMessage, PgCodec};
use tokio_util::codec::Framed;

use super::ReplicationError;
use crate::connect::Socket;

/// A connection in replication mode.
#[derive(Debug)]
pub struct Connection {
    pub(super) framed: Framed<Socket, PgCodec>,
    /// The server's process for it.
    pub(super) pid: i32,
    pub(super) server: String,
    pub(super) is_encrypted: bool,
}

impl Connection {
    /// The server that was chosen: host and port, and the address where the host is a name.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether TLS protects it.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Sends one message.
    pub(super) async fn send(&mut self, message: FrontendMessage) -> Result<(), ReplicationError> {
        Ok(self.framed.send(message).await?)
    }

    /// The next message.
    pub(super) async fn receive(&mut self) -> Result<BackendMessage, ReplicationError> {
        self.framed
            .next()
            .await
            .ok_or(ReplicationError::Closed)?
            .map_err(ReplicationError::from)
    }
}
