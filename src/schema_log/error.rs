//! Why the injector cannot be used.

use crate::config::keys;
use crate::store::StoreError;
use crate::store::schema_log::DatabaseIdentity;

/// The injector cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InjectorError {
    /// It was pointed at another database.
    #[error(
        "{key} is {target}, which is {found} and not the source, {expected}: the schema log describes the database that it is \
         in, so set it to the database of {listener}, or leave it unset to go without metadata",
        key = keys::INJECTOR_URL.name,
        listener = keys::LISTENER_URL.name
    )]
    OtherDatabase {
        /// Its URL, password masked.
        target: String,
        /// The database there.
        found: DatabaseIdentity,
        /// The source.
        expected: DatabaseIdentity,
    },
    /// The source has no schema log, or that of an earlier release.
    #[error(
        "the schema log of the source lacks {lacking} of this release's migrations, without which no metadata can be filled \
         in: run `pgstream init` (it keeps everything that is there), then start again"
    )]
    NotInitialised {
        /// How many.
        lacking: usize,
    },
    /// A database does not answer, or not as it should.
    #[error("cannot use the schema log")]
    Store(#[from] StoreError),
}
