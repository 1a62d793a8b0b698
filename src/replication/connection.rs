//! A connection in replication mode: messages out and in.

use futures_util::{SinkExt, StreamExt};
use pgstream_proto::backend::Authentication;
use pgstream_proto::{BackendMessage, FrontendMessage, PgCodec};
use tokio_util::codec::Framed;

use super::socket::Socket;
use super::{ReplicationError, ServerError};

/// A connection in replication mode.
#[derive(Debug)]
pub struct Connection {
    pub(super) framed: Framed<Socket, PgCodec>,
    /// The server's process for it.
    pub(super) pid: i32,
}

impl Connection {
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

    /// The next message of the authentication.
    pub(super) async fn receive_authentication(&mut self) -> Result<Authentication, ReplicationError> {
        loop {
            match self.receive().await? {
                BackendMessage::Authentication(step) => return Ok(step),
                BackendMessage::NoticeResponse(_) | BackendMessage::NegotiateProtocolVersion(_) => {}
                BackendMessage::ErrorResponse(fields) => {
                    return Err(ReplicationError::Server {
                        what: "the connection".to_owned(),
                        error: Box::new(ServerError::from(&fields)),
                    });
                }
                other => {
                    return Err(ReplicationError::unexpected(
                        &other,
                        "the connection",
                        "Authentication",
                    ));
                }
            }
        }
    }
}
