//! What can go wrong with the replication connection.

use std::time::Duration;

use pgstream_proto::{BackendMessage, DecodeError, EncodeError, Lsn};

use super::history::Gap;
use super::slot::remedy_of_a_lost_slot;
use crate::connect::{ConnectError, ServerError, sqlstate};

/// Trouble with the replication connection.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// No session on the server.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// The server closed the connection.
    #[error("PostgreSQL closed the replication connection")]
    Closed,
    /// The server accepted a connection, and then answered nothing.
    #[error(
        "PostgreSQL accepted the replication connection, and then did not answer within {}",
        humantime::format_duration(*within)
    )]
    Slow {
        /// How long was waited.
        within: Duration,
    },
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
        "replication slot not found: {slot:?} does not exist; run `pgstream init` (and, if it was streamed before, `pgstream run \
         --accept-gap`), or name another slot with PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME"
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
    /// The slot cannot be used again.
    #[error(
        "replication slot {slot:?} is lost: PostgreSQL has invalidated it, mostly because it has removed WAL that it needs (see \
         max_slot_wal_keep_size), and {}",
        remedy_of_a_lost_slot(slot)
    )]
    SlotLost {
        /// The name of the slot.
        slot: String,
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
    #[error(
        "the server is a stand-by (pg_is_in_recovery() is true), and only a primary's changes are streamed: it is waited for \
         until it is promoted; or give the URL of the primary, or all hosts with target_session_attrs=primary"
    )]
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
         {received} was received: {error}. A record that wal2json prints as more than 1 GB cannot be sent, for example. {}",
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

/// SQLSTATEs, or the classes of them, of what a replication connection does not overcome by waiting either: names that do not
/// exist, features and options that the server does not have, a slot or a server in a state that cannot be streamed, files
/// that are not there.
const PERMANENT: [&str; 5] = ["42", "0A", "22023", "55000", "58P01"];

impl From<ConnectError> for ReplicationError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Box::new(error))
    }
}

impl ReplicationError {
    /// Whether it stays as it is until somebody does something about it: connecting again is of no use.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            // Files were good when the program started, and may be being renewed.
            Self::Connect(error) => error.is_permanent() && !error.is_of_files(),
            Self::Server { error, .. } => {
                sqlstate::is_refusal(&error.code) || sqlstate::is_one_of(&error.code, &PERMANENT)
            }
            Self::OddAnswer { .. }
            | Self::SlotNotFound { .. }
            | Self::SlotLost { .. }
            | Self::WrongSlot { .. }
            | Self::Gap(_)
            | Self::Unsendable { .. }
            | Self::Stopped => true,
            Self::Closed
            | Self::Gone
            | Self::Slow { .. }
            | Self::Unexpected { .. }
            | Self::Decode(_)
            | Self::Encode(_)
            | Self::Standby => false,
        }
    }

    /// What the server says of a record that it cannot send, if this may be that.
    pub(super) fn of_a_record(&self) -> Option<&ServerError> {
        match self {
            Self::Server { error, .. } if !sqlstate::is_passing(&error.code) => Some(error),
            _ => None,
        }
    }

    /// The SQLSTATE, where the server reported an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server { error, .. } => Some(&error.code),
            Self::Connect(error) => error.server().map(|error| error.code.as_str()),
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

/// How to go on without a transaction that cannot be sent.
fn remedy(transaction_end: Option<Lsn>) -> String {
    let how = match transaction_end {
        Some(end) => format!("run `pgstream skip --to {end}`"),
        None => "find where it ends, run `pgstream skip --to` with that LSN".to_owned(),
    };
    format!(
        "Everything before that transaction is delivered or kept. To go on without it, and have that written down, {how} and \
         start again"
    )
}
