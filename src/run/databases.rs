//! The databases beside the stream.

use std::time::Duration;

use super::RunError;
use crate::config::Config;
use crate::schema_log;
use crate::store::{self, MigrationSet, PgPool};

/// How long the connections of a pool may take to close.
const CLOSING: Duration = Duration::from_secs(2);

/// The databases that are used beside the stream. Some of them may be one, and share a pool.
pub(super) struct Databases {
    pub(super) store: PgPool,
    /// The source, for its catalogs.
    pub(super) catalog: PgPool,
    /// The source, for its schema log, where metadata is filled in from that.
    pub(super) schema_log: Option<PgPool>,
}

impl Databases {
    /// The store, migrated, and the source.
    pub(super) async fn open(config: &Config) -> Result<Self, RunError> {
        let store = store::connect(&config.store).await?;
        store::migrate(&store, MigrationSet::Store).await?;
        let catalog = if config.source == config.store {
            store.clone()
        } else {
            store::connect(&config.source).await.map_err(RunError::Source)?
        };
        let schema_log = match &config.injector {
            Some(url) => Some(schema_log::open(url, &config.slot, (&config.source, &catalog)).await?),
            None => None,
        };
        Ok(Self {
            store,
            catalog,
            schema_log,
        })
    }

    pub(super) async fn close(self) {
        let Self {
            store,
            catalog,
            schema_log,
        } = self;
        for pool in [Some(store), Some(catalog), schema_log].into_iter().flatten() {
            // A statement that hangs would hold the end back. What it writes is confirmed by nobody.
            let _ = tokio::time::timeout(CLOSING, pool.close()).await;
        }
    }
}
