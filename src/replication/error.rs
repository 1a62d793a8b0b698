//! What can go wrong with the replication connection.

use pgstream_proto::{BackendMessage, DecodeError, EncodeError};

use crate::connect::{ConnectError, ServerError};

/// Trouble with the replication connection.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// No session on the server.
    #[error(transparent)]
    Connect(Box<ConnectError>),
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

impl From<ConnectError> for ReplicationError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Box::new(error))
    }
}

impl ReplicationError {
    /// The SQLSTATE, where the server reported an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server { error, .. } => Some(&error.code),
            Self::Connect(error) => error.server().map(|error| error.code.as_str()),
            _ => None,
        }
    }

    /// Whether trying again will not mend it: an operator has to change the configuration, a file, the role, the slot or the
    /// server. What may heal are the network, a server that is starting, stopping, too full or of the wrong kind for now, and a
    /// slot that somebody else uses.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_permanent(),
            Self::Server { error, .. } => error.is_permanent(),
            Self::SlotNotFound { .. } | Self::WrongSlot { .. } => true,
            Self::Closed
            | Self::Unexpected { .. }
            | Self::Decode(_)
            | Self::Encode(_)
            | Self::OddAnswer { .. }
            | Self::Stopped => false,
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
