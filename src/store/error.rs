//! What can go wrong between us and a database.

use std::io;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;

use super::{MigrationSet, relay};
use crate::connect::{ConnectError, ServerError, sqlstate};
use crate::subscription::model::SubscriptionError;

/// A failure of the store. The server's own words are in its [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection could be made.
    #[error("cannot connect to {target}: check that the server is running and that the URL is right")]
    Connect {
        /// The URL, password masked.
        target: String,
        /// Why not.
        source: sqlx::Error,
    },
    /// No connection could be made, by a URL that asks for more than sqlx can do.
    #[error("cannot connect to {target}")]
    Open {
        /// The URL, password masked.
        target: String,
        /// Why not.
        source: Box<ConnectError>,
    },
    /// The socket could not be made that leads sqlx to the server.
    #[error(
        "cannot make a socket in the folder for temporary files: set TMPDIR to a folder whose name is short, and in which we may \
         write"
    )]
    Relay(#[source] io::Error),
    /// No connection was made in time.
    #[error("cannot connect to {target}: no answer within {seconds} s; check host, port and firewalls")]
    ConnectTimeout {
        /// The URL, password masked.
        target: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A statement failed.
    #[error("cannot {action}")]
    Query {
        /// What was being done, as it reads after "cannot".
        action: &'static str,
        /// What the server or the connection said.
        source: sqlx::Error,
    },
    /// A statement on one of our own tables failed.
    #[error("cannot {action} {table}")]
    Table {
        /// What was being done, as it reads before the name of the table.
        action: &'static str,
        /// The table.
        table: &'static str,
        /// What the server or the connection said.
        source: sqlx::Error,
    },
    /// No answer came in time.
    #[error("the store did not answer within {seconds} s")]
    Slow {
        /// How long was waited.
        seconds: u64,
    },
    /// The migrations of one set could not be applied.
    #[error("cannot migrate the {set} objects of schema pgstream")]
    Migrate {
        /// Which set.
        set: MigrationSet,
        /// What went wrong.
        source: MigrateError,
    },
    /// The database was migrated by another release.
    #[error(
        "the {set} objects of schema pgstream were made by a release that is not this one (migration {version} is \
         unknown or differs): use the release that made them, or tear-down and init again"
    )]
    OtherRelease {
        /// Which set.
        set: MigrationSet,
        /// The first migration that differs.
        version: i64,
    },
    /// A row of `pgstream.webhook_subscriptions` holds what no subscription can.
    #[error(
        "pgstream.webhook_subscriptions has a row that is no subscription (url {url:?}): correct or delete the row"
    )]
    Subscription {
        /// The row's URL.
        url: String,
        /// What is wrong with it.
        source: SubscriptionError,
    },
}

impl StoreError {
    /// For `map_err`: a failed statement, and what it was for.
    pub(super) fn query(action: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { action, source }
    }

    /// For `map_err`: a failed statement on one of our own tables.
    pub(super) fn table(action: &'static str, table: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Table {
            action,
            table,
            source,
        }
    }

    /// The SQLSTATE, where the server refused.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        let of_open = || self.server_error().map(|error| error.code.as_str());
        self.database_error().map(PgDatabaseError::code).or_else(of_open)
    }

    /// Whether the same may work later: no connection, or a server that is busy, starts or is shut down.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::OtherRelease { .. } | Self::Subscription { .. } => false,
            Self::Open { source, .. } => !source.is_permanent(),
            _ => self.sqlstate().is_none_or(sqlstate::is_passing),
        }
    }

    /// Whether it stays as it is until somebody does something about it: a server that refuses us, or a URL, a certificate or a
    /// file with which no connection can be made.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Open { source, .. } => source.is_permanent(),
            _ => self.sqlstate().is_some_and(sqlstate::is_refusal),
        }
    }

    /// Whether an SQLSTATE is not the server's, but says that there is no way to it.
    pub(super) fn is_of_the_way(&self) -> bool {
        self.database_error().is_some_and(relay::is_of_the_way)
    }

    /// The server's own words, where the server refused.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        let of_open = || self.server_error().map(|error| error.message.as_str());
        self.database_error()
            .map(PgDatabaseError::message)
            .or_else(of_open)
    }

    /// The server's HINT, where it gave one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        let of_open = || self.server_error()?.hint.as_deref();
        self.database_error()
            .and_then(PgDatabaseError::hint)
            .or_else(of_open)
    }

    /// The server's DETAIL, where it gave one.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        let of_open = || self.server_error()?.detail.as_deref();
        self.database_error()
            .and_then(PgDatabaseError::detail)
            .or_else(of_open)
    }

    fn server_error(&self) -> Option<&ServerError> {
        match self {
            Self::Open { source, .. } => source.server(),
            _ => None,
        }
    }

    fn database_error(&self) -> Option<&PgDatabaseError> {
        let error = match self {
            Self::Connect { source, .. } | Self::Query { source, .. } | Self::Table { source, .. } => source,
            Self::Migrate { source, .. } => match source {
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
                _ => return None,
            },
            Self::ConnectTimeout { .. }
            | Self::Open { .. }
            | Self::Relay(_)
            | Self::Slow { .. }
            | Self::OtherRelease { .. }
            | Self::Subscription { .. } => {
                return None;
            }
        };
        error.as_database_error()?.try_downcast_ref()
    }
}
