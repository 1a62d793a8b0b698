//! Why the injector cannot be used.

use crate::config::keys;
use crate::store::StoreError;

/// The injector cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InjectorError {
    /// It was pointed at another database.
    #[error(
        "{key} is {target}, which is the database {found:?} and not the source, {source_name:?}: the schema log describes the \
         database that it is in, so set it to {listener}'s database, or leave it unset to go without metadata",
        key = keys::INJECTOR_URL.name,
        listener = keys::LISTENER_URL.name
    )]
    OtherDatabase {
        /// Its URL, password masked.
        target: String,
        /// The name of the database there.
        found: String,
        /// The name of the source.
        source_name: String,
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
