//! Why the program ended before it was asked to.

use crate::api::ApiError;
use crate::delivery::DispatcherError;
use crate::pipeline::PipelineError;
use crate::replication::{ReplicationError, StreamError};
use crate::schema_log::InjectorError;
use crate::setup::Precondition;
use crate::snapshot::SnapshotError;
use crate::store::{self, StoreError};
use crate::subscription::cache::CacheError;

/// Why the program ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store database cannot be used.
    #[error("cannot use the subscription store")]
    Store(#[from] StoreError),
    /// The source's catalogs cannot be asked.
    #[error("cannot use the source")]
    Source(#[source] StoreError),
    /// There is no first set of subscriptions.
    #[error(transparent)]
    Subscriptions(#[from] CacheError),
    /// The subscription server cannot be started.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The delivery engine cannot be started.
    #[error(transparent)]
    Delivery(#[from] DispatcherError),
    /// The server, or the database, cannot do what pgstream needs.
    #[error(transparent)]
    Precondition(#[from] Precondition),
    /// The metadata cannot be filled in.
    #[error(transparent)]
    Injector(#[from] InjectorError),
    /// The stream cannot be started.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// Rows could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Another program works off the backlogs of this store.
    #[error(
        "another pgstream uses this store: deliveries of one store are made by one program at a time. \
        Stop it first; SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid) \
        WHERE locktype = 'advisory' shows who it is"
    )]
    InUse,
    /// The snapshot is to be of another database than the one that is streamed.
    #[error(
        "PGSTREAM_POSTGRES_SNAPSHOT_STORE_URL names {found}, and the source is {expected}: name the source"
    )]
    OtherDatabase {
        /// What it names.
        found: store::schema_log::DatabaseIdentity,
        /// The source.
        expected: store::schema_log::DatabaseIdentity,
    },
    /// The snapshot is to be of a stand-by.
    #[error(
        "PGSTREAM_POSTGRES_SNAPSHOT_STORE_URL names a stand-by, whose rows may lag behind the stream: name the primary"
    )]
    Standby,
    /// It was ended before it was complete.
    #[error(
        "interrupted before it was complete: run it again, and it goes on with the tables that are not done"
    )]
    Interrupted,
    /// Strict mode, and an event that cannot be delivered.
    #[error(
        "strict mode: {0}; deliver, discard or unsubscribe what it is about, or run without \
        PGSTREAM_WEBHOOK_NOTIFIER_STRICT_MODE, and start again"
    )]
    Strict(String),
    /// The stream ended.
    #[error(transparent)]
    Stream(#[from] StreamError<PipelineError>),
}

/// What kind of end an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Starting again may help.
    Failure,
    /// PostgreSQL refuses what is needed, and will until somebody does something about it.
    Refused,
    /// The source is not what was streamed before.
    Gap,
    /// The source has a transaction that it cannot send.
    Unsendable,
}

impl RunError {
    /// What a database answered, or did not, where that is what failed.
    fn of_a_database(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error)
            | Self::Source(error)
            | Self::Snapshot(SnapshotError::Store(error))
            | Self::Injector(InjectorError::Store(error))
            | Self::Stream(StreamError::Intake(PipelineError::SchemaLog(error))) => Some(error),
            Self::Subscriptions(CacheError::Store(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether it is only that a database does not answer now.
    pub(super) fn may_pass(&self) -> bool {
        self.of_a_database().is_some_and(StoreError::may_pass)
    }

    /// What kind of end it is.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self {
            _ if self.of_a_database().is_some_and(StoreError::is_permanent) => Ending::Refused,
            Self::Precondition(_) => Ending::Refused,
            Self::Replication(error) | Self::Stream(StreamError::Replication(error)) => match error {
                ReplicationError::Gap(_) => Ending::Gap,
                ReplicationError::Unsendable { .. } => Ending::Unsendable,
                error if error.is_permanent() => Ending::Refused,
                _ => Ending::Failure,
            },
            _ => Ending::Failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::{ConnectError, TransportError};

    fn of_a_file() -> ConnectError {
        ConnectError::Transport(TransportError::File {
            parameter: "sslkey",
            path: "client.key".to_owned(),
            problem: "is not the key of the certificate client.crt".to_owned(),
        })
    }

    #[test]
    fn what_no_start_would_mend_is_refused() {
        let no_password = ConnectError::NoPassword {
            user: "ada".to_owned(),
        };
        let closed = ConnectError::Closed {
            address: "db:5432".to_owned(),
        };
        for (source, may_pass, expected) in [
            (of_a_file(), false, Ending::Refused),
            (no_password, false, Ending::Refused),
            (closed, true, Ending::Failure),
        ] {
            let error = StoreError::Open {
                target: "postgres://ada@db/ada".to_owned(),
                source: Box::new(source),
            };
            assert_eq!(error.may_pass(), may_pass, "{error:?}");
            assert_eq!(RunError::from(error).ending(), expected);
        }
    }

    #[test]
    fn a_certificate_may_be_renewed_while_it_is_read_again() {
        // The store's connection was made with the same files before.
        let error = ReplicationError::from(of_a_file());
        assert!(!error.is_permanent(), "{error}");
    }
}
