//! What can go wrong with the replication connection.

use std::fmt;
use std::io;
use std::time::Duration;

use pgstream_proto::backend::ErrorFields;
use pgstream_proto::{BackendMessage, DecodeError, EncodeError};

/// Trouble with the replication connection.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// No connection to the server.
    #[error(
        "could not connect to PostgreSQL at {address}: is it running there, and does PGSTREAM_POSTGRES_LISTENER_URL name it?"
    )]
    Connect {
        /// Host and port, or the socket's path.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The server did not answer in time.
    #[error("PostgreSQL at {address} did not complete the connection within {}", humantime::format_duration(*within))]
    ConnectTimeout {
        /// Host and port, or the socket's path.
        address: String,
        /// How long was waited.
        within: Duration,
    },
    /// The server closed the connection.
    #[error("PostgreSQL closed the replication connection")]
    Closed,
    /// The server reported an error.
    #[error("PostgreSQL refused {what}: {error}")]
    Server {
        /// What it refused.
        what: String,
        /// What it said.
        error: ServerError,
    },
    /// The server asks for a password and the URL has none.
    #[error(
        "PostgreSQL asks for the password of user {user:?} and the URL has none: add it as postgres://{user}:<password>@…"
    )]
    NoPassword {
        /// The user of the URL.
        user: String,
    },
    /// The server offers no way of authentication that is supported.
    #[error("PostgreSQL offers the SASL mechanisms {offered}; supported is SCRAM-SHA-256")]
    NoMechanism {
        /// What it offers.
        offered: String,
    },
    /// The SCRAM exchange failed.
    #[error("the SCRAM-SHA-256 exchange with PostgreSQL failed")]
    Scram(#[source] io::Error),
    /// A message that does not belong there.
    #[error("PostgreSQL sent {message} where {expected} was expected")]
    Unexpected {
        /// The name of the message.
        message: &'static str,
        /// What should have come.
        expected: &'static str,
    },
    /// A message that could not be read, or a broken socket.
    #[error("reading from PostgreSQL failed")]
    Decode(#[from] DecodeError),
    /// A message that could not be written, or a broken socket.
    #[error("writing to PostgreSQL failed")]
    Encode(#[from] EncodeError),
    /// There is no such slot.
    #[error(
        "replication slot not found: {slot:?} does not exist; run `pgstream init`, or name another slot with PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME"
    )]
    SlotNotFound {
        /// The name of the slot.
        slot: String,
    },
    /// The slot is of another kind.
    #[error(
        "replication slot {slot:?} cannot be streamed: {problem}; name another slot with PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME, or drop this one and run `pgstream init`"
    )]
    WrongSlot {
        /// The name of the slot.
        slot: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The server's answer to one of our queries is not what it should be.
    #[error("PostgreSQL answered {query:?} with something unexpected: {what}")]
    OddAnswer {
        /// The query.
        query: &'static str,
        /// What is odd.
        what: String,
    },
    /// Stopped before the stream began.
    #[error("stopped while waiting for the replication slot")]
    Stopped,
}

impl ReplicationError {
    /// The SQLSTATE, where the server reported an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server { error, .. } => Some(&error.code),
            _ => None,
        }
    }

    /// The error for a message that does not belong there: what the server says, if it reports an error.
    pub(super) fn unexpected(message: &BackendMessage, what: &str, expected: &'static str) -> Self {
        match message {
            BackendMessage::ErrorResponse(fields) => Self::Server {
                what: what.to_owned(),
                error: ServerError::from(fields),
            },
            other => Self::Unexpected {
                message: other.name(),
                expected,
            },
        }
    }
}

/// An error as the server reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<&ErrorFields> for ServerError {
    fn from(fields: &ErrorFields) -> Self {
        let text =
            |field: Option<&pgstream_proto::Text>| field.map(|text| text.to_string_lossy().into_owned());
        Self {
            code: text(fields.code()).unwrap_or_default(),
            message: text(fields.message()).unwrap_or_default(),
            detail: text(fields.detail()),
            hint: text(fields.hint()),
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}
