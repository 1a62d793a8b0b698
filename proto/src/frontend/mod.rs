//! The messages we send.
//!
//! One file a message, named as the PostgreSQL documentation names it.
//! Source: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

mod copy_data;
mod copy_done;
mod frame;
mod password_message;
mod query;
mod sasl_initial_response;
mod sasl_response;
mod ssl_request;
mod startup_message;
mod tag;
mod terminate;

pub use password_message::PasswordMessage;
pub use sasl_initial_response::SaslInitialResponse;
pub use startup_message::StartupMessage;

use crate::EncodeError;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// A message to the server.
///
/// `Debug` shows the length of CopyData, not what it carries, and hides what belongs to authentication.
#[derive(Clone, PartialEq, Eq)]
pub enum FrontendMessage {
    /// A piece of copied data; within replication a
    /// [`StandbyStatusUpdate`](crate::replication::StandbyStatusUpdate).
    CopyData(Bytes),
    /// We end our direction of copying.
    CopyDone,
    /// The password, or a hash of it.
    Password(PasswordMessage),
    /// A query in SQL or in the replication grammar.
    Query(String),
    /// The choice of a SASL mechanism, with its first message.
    SaslInitialResponse(SaslInitialResponse),
    /// A further message of the SASL mechanism.
    SaslResponse(Bytes),
    /// May we speak TLS? The answer is one byte without a frame: `S` or `N`.
    SslRequest,
    /// The first message of a connection.
    Startup(StartupMessage),
    /// We are about to close the connection.
    Terminate,
}

impl FrontendMessage {
    /// Appends the message to `dst`.
    ///
    /// # Errors
    ///
    /// A field that cannot be written, or a message that is too long; `dst` is then as it was before.
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::CopyData(payload) => copy_data::encode(payload, dst),
            Self::CopyDone => copy_done::encode(dst),
            Self::Password(message) => message.encode(dst),
            Self::Query(query) => query::encode(query, dst),
            Self::SaslInitialResponse(message) => message.encode(dst),
            Self::SaslResponse(payload) => sasl_response::encode(payload, dst),
            Self::SslRequest => ssl_request::encode(dst),
            Self::Startup(message) => message.encode(dst),
            Self::Terminate => terminate::encode(dst),
        }
    }
}

impl fmt::Debug for FrontendMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CopyData(payload) => write!(f, "CopyData({} bytes)", payload.len()),
            Self::CopyDone => f.write_str("CopyDone"),
            Self::Password(message) => message.fmt(f),
            Self::Query(query) => f.debug_tuple("Query").field(query).finish(),
            Self::SaslInitialResponse(message) => message.fmt(f),
            Self::SaslResponse(payload) => write!(f, "SASLResponse({} bytes)", payload.len()),
            Self::SslRequest => f.write_str("SSLRequest"),
            Self::Startup(message) => message.fmt(f),
            Self::Terminate => f.write_str("Terminate"),
        }
    }
}

#[cfg(test)]
mod tests;
