//! What can go wrong with the replication connection.

use std::fmt;
use std::io;
use std::time::Duration;

use pgstream_proto::backend::ErrorFields;
use pgstream_proto::{BackendMessage, DecodeError, EncodeError, Lsn};

use super::history::Gap;

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
    /// The server's end is not there any more, and nothing has told so.
    #[error("the walsender of the replication connection is gone, or its server is being shut down")]
    Gone,
    /// The server reported an error.
    #[error("PostgreSQL refused {what}: {error}")]
    Server {
        /// What it refused.
        what: String,
        /// What it said.
        error: Box<ServerError>,
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
    /// The server is a stand-by.
    #[error("the server is a stand-by (pg_is_in_recovery() is true): only a primary's changes are streamed")]
    Standby,
    /// The source is not what was streamed before.
    #[error(
        "the source cannot be streamed from where it was left: {0}. Find out what happened to it. To go on from where the \
         slot is now, without what is missing, start with `pgstream run --accept-gap`; what else is missing in the receivers \
         can be sent again with `pgstream backfill`"
    )]
    Gap(Gap),
    /// The server fails at a record again and again.
    #[error(
        "PostgreSQL cannot send the changes of a transaction: it failed {times} times in the same way after everything up to \
         {received} was received: {error}. A record that wal2json prints as more than 1 GB cannot be sent, for example. \
         Everything before that transaction is delivered or kept. {}",
        remedy(*transaction_end)
    )]
    Unsendable {
        /// Everything up to here was received.
        received: Lsn,
        /// Where the transaction ends, if that is known.
        transaction_end: Option<Lsn>,
        /// How often it failed.
        times: u32,
        /// What the server says.
        error: Box<ServerError>,
    },
    /// Stopped before the stream began.
    #[error("stopped while waiting for the replication slot")]
    Stopped,
}

/// SQLSTATEs, or the classes of them, of what does not heal by waiting: authentication, names that do not exist, rights,
/// features and options that the server does not have, a slot or a server in a state that cannot be streamed, files that
/// are not there.
const PERMANENT: [&str; 7] = ["28", "3D", "42", "0A", "22023", "55000", "58P01"];

/// SQLSTATEs, or the classes of them, that say nothing of what was being sent: the connection, resources, and a server that
/// is shut down, starts, or has been told to end the session.
const PASSING: [&str; 4] = ["08", "53", "57", "40"];

impl ReplicationError {
    /// Whether it stays as it is until somebody does something about it: connecting again is of no use.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Server { error, .. } => error.is_one_of(&PERMANENT),
            Self::NoPassword { .. }
            | Self::NoMechanism { .. }
            | Self::Scram(_)
            | Self::SlotNotFound { .. }
            | Self::WrongSlot { .. }
            | Self::Gap(_)
            | Self::Unsendable { .. }
            | Self::Stopped => true,
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Closed
            | Self::Gone
            | Self::Unexpected { .. }
            | Self::Decode(_)
            | Self::Encode(_)
            | Self::OddAnswer { .. }
            | Self::Standby => false,
        }
    }

    /// What the server says of a record that it cannot send, if this may be that.
    pub(super) fn of_a_record(&self) -> Option<&ServerError> {
        match self {
            Self::Server { error, .. } if !error.is_one_of(&PASSING) => Some(error),
            _ => None,
        }
    }

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
                error: Box::new(ServerError::from(fields)),
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

impl ServerError {
    fn is_one_of(&self, codes: &[&str]) -> bool {
        codes.iter().any(|code| self.code.starts_with(code))
    }
}

/// How to go on without a transaction that cannot be sent.
fn remedy(transaction_end: Option<Lsn>) -> String {
    match transaction_end {
        Some(end) => format!(
            "To go on without it, and have that written down, run `pgstream skip --to {end}` and start again"
        ),
        None => {
            "To go on without it, find where it ends, run `pgstream skip --to` with that LSN, and start again"
                .to_owned()
        }
    }
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
