//! The messages of a session that is being opened, one after the other.

use futures_util::{SinkExt, StreamExt};
use pgstream_proto::backend::Authentication;
use pgstream_proto::{BackendMessage, FrontendMessage, PgCodec};
use tokio_util::codec::Framed;

use super::transport::Socket;
use super::{ConnectError, ServerError};

/// A session that is being opened.
pub(super) struct Exchange {
    pub(super) framed: Framed<Socket, PgCodec>,
    /// The address, for errors.
    pub(super) address: String,
    /// Whether TLS protects it.
    pub(super) is_encrypted: bool,
}

impl Exchange {
    pub(super) async fn send(&mut self, message: FrontendMessage) -> Result<(), ConnectError> {
        Ok(self.framed.send(message).await?)
    }

    pub(super) async fn receive(&mut self) -> Result<BackendMessage, ConnectError> {
        let message = self.framed.next().await;
        let message = message.ok_or_else(|| ConnectError::Closed {
            address: self.address.clone(),
        })?;
        Ok(message?)
    }

    /// The next message of the authentication.
    pub(super) async fn receive_authentication(&mut self) -> Result<Authentication, ConnectError> {
        loop {
            match self.receive().await? {
                BackendMessage::Authentication(step) => return Ok(step),
                BackendMessage::NoticeResponse(_) | BackendMessage::NegotiateProtocolVersion(_) => {}
                other => return Err(self.unexpected(&other, "Authentication")),
            }
        }
    }

    /// The error for a message that does not belong there: what the server says, if it reports an error.
    pub(super) fn unexpected(&self, message: &BackendMessage, expected: &'static str) -> ConnectError {
        match message {
            BackendMessage::ErrorResponse(fields) => ConnectError::Server {
                address: self.address.clone(),
                is_encrypted: self.is_encrypted,
                error: ServerError::from(fields),
            },
            other => ConnectError::Unexpected {
                message: other.name(),
                expected,
            },
        }
    }
}
