//! How far the reading of existing rows is.

use serde::Serialize;

use super::OperatorError;
use super::documents::timestamp;
use crate::store::PgPool;
use crate::store::snapshot::{self, TableRow};

/// All tables that are known to be read, or to have been.
#[derive(Debug, Serialize)]
pub struct SnapshotList {
    /// By slot, schema and name.
    pub tables: Vec<SnapshotTable>,
}

/// How far one of them is.
#[derive(Debug, Serialize)]
pub struct SnapshotTable {
    /// The slot whose program reads it.
    pub slot: String,
    /// The run that the ids of its rows are of.
    pub run: i64,
    /// The table itself.
    #[serde(flatten)]
    pub read: ReadTable,
}

/// How far the reading of a table is.
#[derive(Debug, Serialize)]
pub struct ReadTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// `pending`, `waiting`, `reading`, `done`; of a backfill also `cancelled` or `failed`.
    pub state: &'static str,
    /// Rows read so far, as of the last ten seconds.
    pub rows: u64,
    /// What they took, in bytes.
    pub bytes: u64,
    /// How many rows PostgreSQL thinks it has.
    pub estimated_rows: u64,
    /// What it takes on disk, in bytes.
    pub total_bytes: u64,
    /// When its reading began (RFC 3339, UTC).
    pub started_at: Option<String>,
    /// When all its rows were settled, or it was broken off.
    pub finished_at: Option<String>,
}

/// Lists them.
///
/// # Errors
/// [`OperatorError::Store`]
pub async fn list(store: &PgPool) -> Result<SnapshotList, OperatorError> {
    let tables = snapshot::list(store).await?;
    Ok(SnapshotList {
        tables: tables.into_iter().map(SnapshotTable::from).collect(),
    })
}

impl From<TableRow> for SnapshotTable {
    fn from(row: TableRow) -> Self {
        Self {
            slot: row.slot.clone(),
            run: row.run,
            read: ReadTable::from(row),
        }
    }
}

impl From<TableRow> for ReadTable {
    fn from(row: TableRow) -> Self {
        Self {
            schema: row.schema,
            table: row.table,
            state: row.state.as_str(),
            rows: row.read_rows,
            bytes: row.read_bytes,
            estimated_rows: row.estimated_rows,
            total_bytes: row.total_bytes,
            started_at: row.started_at.map(timestamp),
            finished_at: row.finished_at.map(timestamp),
        }
    }
}
