//! Asking for a backfill.

use serde::Serialize;
use slog::Logger;

use super::RunError;
use super::databases::Databases;
use super::rows::readable;
use crate::config::Config;
use crate::operator::{OperatorError, endpoints};
use crate::patterns::Patterns;
use crate::snapshot::{Asked, Asking, SnapshotError};

/// A backfill that was not asked for.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// The databases cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Nothing knows the endpoint.
    #[error(transparent)]
    Operator(OperatorError),
    /// The tables cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// A backfill that was asked for.
#[derive(Debug, Serialize)]
pub struct AskedFor {
    /// Its number.
    pub id: i64,
    /// Who gets the rows.
    pub url: String,
    /// The tables, the largest first.
    pub tables: Vec<String>,
}

/// Asks for the rows of tables, but for those that are excluded, for this endpoint.
pub async fn backfill(
    config: &Config,
    url: &str,
    tables: (&Patterns, &Patterns),
    log: &Logger,
) -> Result<AskedFor, BackfillError> {
    let databases = Databases::open(config).await?;
    let asked = ask((config, &databases), url, tables, log).await;
    databases.close().await;
    let Asked { backfill, tables } = asked?;
    Ok(AskedFor {
        id: backfill,
        url: url.to_owned(),
        tables,
    })
}

async fn ask(
    (config, databases): (&Config, &Databases),
    url: &str,
    (tables, excluded): (&Patterns, &Patterns),
    log: &Logger,
) -> Result<Asked, BackfillError> {
    endpoints::check_known(&databases.store, "url", url)
        .await
        .map_err(BackfillError::Operator)?;
    let asking = asking(config, databases, log);
    let asking = Asking {
        source: readable(config, databases).await?,
        ..asking
    };
    Ok(asking.ask(url, tables, excluded).await?)
}

/// Where backfills are asked for.
pub(super) fn asking(config: &Config, databases: &Databases, log: &Logger) -> Asking {
    Asking {
        source: databases.catalog.clone(),
        store: databases.store.clone(),
        slot: config.slot.clone(),
        filter: config.filter.clone(),
        log: log.clone(),
    }
}
